//! Choosing tokens.

use proptest::prelude::*;
use stateset_domain::Stream;
use stateset_kernels::cuda::{self, Array, Choice};
use stateset_kernels::reference::{self, Filters};

use crate::{blank, download, numbers, on_devices, upload, wide};

const POSITION: u64 = 5;

fn choice(filters: Filters, stream: Stream) -> Choice {
    let Filters { temperature, top_k, top_p, min_p } = filters;
    let (temperature, top_p, min_p) = (temperature as f32, top_p as f32, min_p as f32);
    Choice { key: stream.key(), position: POSITION, temperature, top_p, min_p, top_k: top_k as u32 }
}

/// Tokens and log-probabilities of rows that are sampled alike, each from a stream of its own.
fn sampled(logits: &[f32], choices: &[Choice]) -> Vec<Vec<Vec<f64>>> {
    on_devices!(|device| {
        let (mut tokens, mut log_probs) =
            (Array::new(device, choices.len()).unwrap(), blank::<_, f32>(device, choices.len()));
        let choices = Array::from_slice(device, choices).unwrap();
        cuda::sample(device, &upload(device, logits), &choices, &mut tokens, &mut log_probs).unwrap();
        let tokens: Vec<u32> = tokens.to_vec(device).unwrap();
        vec![tokens.into_iter().map(f64::from).collect(), download(device, &log_probs)]
    })
}

/// Each token is the one whose share of `[0, 1)` holds its row's uniform number, up to what rounding moves the share's ends.
fn check(logits: &[f32], vocab: usize, filters: Filters, seed: u64) {
    const TOLERANCE: f64 = 2e-6;
    let streams: Vec<Stream> = (0..logits.len() / vocab).map(|row| Stream::new(seed).fork(row as u64)).collect();
    let choices: Vec<Choice> = streams.iter().map(|stream| choice(filters, *stream)).collect();
    // Exactly the numbers that the kernel gets.
    let Choice { temperature, top_p, min_p, .. } = choices[0];
    let filters = Filters { temperature: temperature.into(), top_p: top_p.into(), min_p: min_p.into(), ..filters };
    for found in sampled(logits, &choices) {
        for (row, logits) in logits.chunks_exact(vocab).enumerate() {
            let (token, log_prob) = (found[0][row] as u32, found[1][row]);
            let u = streams[row].uniform_at(POSITION);
            let all = reference::distribution(&wide(logits), filters);
            let at = all.iter().position(|(id, _)| *id == token);
            let at = at.unwrap_or_else(|| panic!("{token} does not survive {filters:?}"));
            let before: f64 = all[..at].iter().map(|(_, p)| p).sum();
            let share = before - TOLERANCE..before + all[at].1 + TOLERANCE;
            assert!(share.contains(&u), "{u} draws {token}, whose share is {share:?}");
            assert!((log_prob - all[at].1.ln()).abs() <= 3e-6, "{log_prob} is not {}", all[at].1.ln());
        }
    }
}

fn filters() -> impl Strategy<Value = Filters> {
    let temperature = prop_oneof![Just(1.0), 0.3..2.0f64];
    let top_k = prop_oneof![Just(0usize), 1..40usize];
    let top_p = prop_oneof![Just(1.0), 0.05..0.99f64];
    let min_p = prop_oneof![Just(0.0), 0.001..0.5f64];
    (temperature, top_k, top_p, min_p).prop_map(|(temperature, top_k, top_p, min_p)| Filters {
        temperature,
        top_k,
        top_p,
        min_p,
    })
}

const PLAIN: Filters = Filters { temperature: 1.0, top_k: 0, top_p: 1.0, min_p: 0.0 };

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn tokens_follow_the_inverse_transform(
        rows in 1..4usize, vocab in prop_oneof![1..70usize, 70..1500usize], filters in filters(), seed in 0..1000u64,
    ) {
        check(&numbers(seed, rows * vocab, 5.0), vocab, filters, seed);
    }

    #[test]
    fn among_equal_logits_the_lower_id_comes_first(rows in 1..4usize, vocab in 1..300usize, filters in filters(), seed in 0..1000u64) {
        let rough: Vec<f32> = numbers::<f32>(seed, rows * vocab, 2.0).iter().map(|z| z.round()).collect();
        check(&rough, vocab, filters, seed);
    }
}

#[test]
fn a_large_vocabulary() {
    for filters in [PLAIN, Filters { top_k: 50, top_p: 0.9, min_p: 0.02, temperature: 0.8 }] {
        check(&numbers(9, 50_257, 9.0), 50_257, filters, 4);
    }
}

#[test]
fn impossible_tokens_are_never_drawn() {
    let mut logits = vec![f32::NEG_INFINITY; 6 * 40];
    (0..6).for_each(|row| logits[row * 40 + 7 * row] = -3.0);
    for found in sampled(&logits, &[choice(PLAIN, Stream::new(1)); 6]) {
        assert_eq!(found, [vec![0.0, 7.0, 14.0, 21.0, 28.0, 35.0], vec![0.0; 6]]);
    }
}

#[test]
fn greedy_takes_the_first_of_the_largest_and_reports_the_full_distribution() {
    // The third logit is larger than the second by less than an exponential can tell.
    let logits = [0.0, 1.0, 1.0 + f32::EPSILON, 1.0 + f32::EPSILON, -1.0];
    let greedy = choice(Filters { temperature: 0.0, top_k: 2, ..PLAIN }, Stream::new(1));
    let all = reference::distribution(&wide(&logits), PLAIN);
    for found in sampled(&logits, &[greedy]) {
        assert!(found[0] == [2.0] && (found[1][0] - all[2].1.ln()).abs() < 1e-6, "{found:?}");
    }
}

#[test]
fn logits_that_are_no_distribution_give_a_log_probability_that_is_none() {
    for wrong in [f32::NAN, f32::INFINITY] {
        let logits = [0.0, wrong, 1.0].repeat(2);
        let filtered = Filters { top_k: 2, ..PLAIN };
        for found in sampled(&logits, &[choice(PLAIN, Stream::new(1)), choice(filtered, Stream::new(1))]) {
            assert!(found[0] == [0.0; 2] && found[1].iter().all(|it| it.is_nan()), "{found:?}");
        }
    }
}

#[test]
fn draws_have_the_frequencies_that_are_asked_for() {
    let filters = Filters { temperature: 0.9, top_k: 5, top_p: 0.95, min_p: 0.0 };
    let (rows, logits) = (1000, numbers::<f32>(3, 12, 2.0));
    let choices: Vec<Choice> = (0..rows).map(|row| choice(filters, Stream::new(7).fork(row))).collect();
    for found in sampled(&logits.repeat(rows as usize), &choices) {
        for (id, p) in reference::distribution(&wide(&logits), filters) {
            let drawn = found[0].iter().filter(|token| **token == f64::from(id)).count() as f64 / rows as f64;
            // Five standard deviations.
            assert!((drawn - p).abs() <= 5.0 * (p * (1.0 - p) / rows as f64).sqrt(), "{id} was drawn {drawn}, not {p}");
        }
    }
}

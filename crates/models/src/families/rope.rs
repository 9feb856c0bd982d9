//! Rotary frequencies and the ways to stretch them over longer texts.
//!
//! | `rope_type` | What changes | Source |
//! |---|---|---|
//! | `default` | nothing | Su et al., arXiv:2104.09864 |
//! | `linear` | every pair turns `factor` times slower | Chen et al., arXiv:2306.15595 |
//! | `dynamic` | nothing up to `max_position_embeddings`, which is as far as sequences go here | |
//! | `llama3` | slow pairs turn slower, fast ones do not, with a ramp in between | Llama 3.1 |
//! | `yarn` | the same by the number of turns, and scores grow | Peng et al., arXiv:2309.00071 |
//! | `longrope` | a factor for each pair; up to `original_max_position_embeddings`, which is as far as sequences go here | Ding et al., arXiv:2402.13753 |

use std::f64::consts::TAU;

use super::fields::Fields;
use crate::ConfigError;
use crate::config::RopeTable;

/// The table of a family, and how far it reaches if that is not `max_position_embeddings`.
pub(super) struct Stretched {
    pub(super) table: RopeTable,
    pub(super) reach: Option<usize>,
}

/// What a family gives a table for.
#[derive(Clone, Copy)]
pub(super) struct Heads {
    pub(super) head_dim: usize,
    pub(super) positions: usize,
    /// The base if none is given.
    pub(super) theta: f64,
}

/// Reads `rope_parameters`, or `rope_theta` and `rope_scaling` of older files.
pub(super) fn read(f: &mut Fields, heads: Heads, family: &'static str) -> Result<Stretched, ConfigError> {
    let theta = f.optional_number("rope_theta")?;
    let share = f.optional_number("partial_rotary_factor")?;
    let name = if f.has("rope_parameters") { "rope_parameters" } else { "rope_scaling" };
    f.ignore(&["rope_parameters", "rope_scaling"]);
    let heads = Heads { theta: theta.unwrap_or(heads.theta), ..heads };
    let original = f.optional_count("original_max_position_embeddings")?;
    match f.object(name)? {
        Some(mut scaling) => {
            let found = stretched(&mut scaling, heads, share, original)?;
            scaling.finish(family)?;
            Ok(found)
        }
        None => Ok(Stretched { table: plain(&frequencies(heads, share)?), reach: None }),
    }
}

/// The table of one `rope_parameters`.
pub(super) fn stretched(
    f: &mut Fields,
    heads: Heads,
    share: Option<f64>,
    original: Option<usize>,
) -> Result<Stretched, ConfigError> {
    let theta = f.optional_number("rope_theta")?.unwrap_or(heads.theta);
    let share = f.optional_number("partial_rotary_factor")?.or(share);
    let heads = Heads { theta, ..heads };
    let kind = f.text("rope_type")?;
    let kind = kind.or(f.text("type")?).unwrap_or_else(|| "default".into());
    let each = frequencies(heads, share)?;
    let original = f.optional_count("original_max_position_embeddings")?.or(original);
    let table = match kind.as_str() {
        "default" => plain(&each),
        "dynamic" => {
            f.number("factor")?;
            plain(&each)
        }
        "linear" => {
            let factor = f.number("factor")?;
            plain(&each.iter().map(|it| it / factor).collect::<Vec<_>>())
        }
        "llama3" => llama3(f, &each, original)?,
        "yarn" => yarn(f, &each, heads, original)?,
        "longrope" | "su" => return longrope(f, &each, heads, original),
        _ => {
            let supported = "default, dynamic, linear, llama3, yarn or longrope".into();
            return Err(ConfigError::Unsupported { field: "rope_type".into(), found: kind, supported });
        }
    };
    Ok(Stretched { table, reach: None })
}

fn plain(frequencies: &[f64]) -> RopeTable {
    RopeTable { frequencies: frequencies.to_vec(), factor: 1.0 }
}

/// `theta^(-2 j / d)`, over the part of a head that turns.
pub(super) fn frequencies(heads: Heads, share: Option<f64>) -> Result<Vec<f64>, ConfigError> {
    let width = (heads.head_dim as f64 * share.unwrap_or(1.0)) as usize;
    if width > heads.head_dim || width < 2 || !width.is_multiple_of(2) || heads.theta <= 1.0 {
        let head = heads.head_dim;
        return Err(ConfigError::Shape(format!(
            "{width} of {head} numbers of a head cannot turn with a base of {}",
            heads.theta
        )));
    }
    Ok((0..width / 2).map(|j| heads.theta.powf(-2.0 * j as f64 / width as f64)).collect())
}

fn llama3(f: &mut Fields, each: &[f64], original: Option<usize>) -> Result<RopeTable, ConfigError> {
    let (factor, low, high) = (f.number("factor")?, f.number("low_freq_factor")?, f.number("high_freq_factor")?);
    let original = original.ok_or(ConfigError::Missing("original_max_position_embeddings".into()))? as f64;
    if high <= low {
        return Err(ConfigError::Shape(format!("high_freq_factor {high} must be above low_freq_factor {low}")));
    }
    let stretch = |it: &f64| {
        let turns = original * it / TAU;
        let kept = ((turns - low) / (high - low)).clamp(0.0, 1.0);
        (1.0 - kept) * it / factor + kept * it
    };
    Ok(RopeTable { frequencies: each.iter().map(stretch).collect(), factor: 1.0 })
}

fn yarn(f: &mut Fields, each: &[f64], heads: Heads, original: Option<usize>) -> Result<RopeTable, ConfigError> {
    let original = original.ok_or(ConfigError::Missing("original_max_position_embeddings".into()))? as f64;
    let factor = f.optional_number("factor")?.unwrap_or(heads.positions as f64 / original);
    let (fast, slow) =
        (f.optional_number("beta_fast")?.unwrap_or(32.0), f.optional_number("beta_slow")?.unwrap_or(1.0));
    let truncate = f.flag("truncate", true)?;
    let width = 2.0 * each.len() as f64;
    // The pair that makes so many turns over the original context.
    let pair = |turns: f64| width * (original / (turns * TAU)).ln() / (2.0 * heads.theta.ln());
    let (low, high) = (pair(fast), pair(slow));
    let (low, high) = if truncate { (low.floor(), high.ceil()) } else { (low, high) };
    let (low, high) = (low.max(0.0), high.min(width - 1.0));
    let high = if low == high { high + 0.001 } else { high };
    let stretch = |(j, it): (usize, &f64)| {
        let slowed = ((j as f64 - low) / (high - low)).clamp(0.0, 1.0);
        it / factor * slowed + it * (1.0 - slowed)
    };
    let (given, of, over) =
        (f.optional_number("attention_factor")?, f.optional_number("mscale")?, f.optional_number("mscale_all_dim")?);
    let growth = |weight: f64| if factor <= 1.0 { 1.0 } else { 0.1 * weight * factor.ln() + 1.0 };
    let grown = match (of, over) {
        (Some(of), Some(over)) => growth(of) / growth(over),
        _ => growth(1.0),
    };
    Ok(RopeTable { frequencies: each.iter().enumerate().map(stretch).collect(), factor: given.unwrap_or(grown) })
}

fn longrope(f: &mut Fields, each: &[f64], heads: Heads, original: Option<usize>) -> Result<Stretched, ConfigError> {
    let original = original.ok_or(ConfigError::Missing("original_max_position_embeddings".into()))?;
    let (short, long) = (f.numbers("short_factor")?, f.numbers("long_factor")?);
    if short.len() != each.len() || long.len() != each.len() {
        let (found, pairs) = (short.len(), each.len());
        return Err(ConfigError::Shape(format!("short_factor and long_factor must have {pairs} entries, not {found}")));
    }
    let ratio = f.optional_number("factor")?.unwrap_or(heads.positions as f64 / original as f64);
    let grown = if ratio <= 1.0 { 1.0 } else { (1.0 + ratio.ln() / (original as f64).ln()).sqrt() };
    let factor = f.optional_number("attention_factor")?.unwrap_or(grown);
    f.ignore(&["long_mscale", "short_mscale"]);
    let frequencies = each.iter().zip(&short).map(|(it, by)| it / by).collect();
    Ok(Stretched { table: RopeTable { frequencies, factor }, reach: Some(original) })
}

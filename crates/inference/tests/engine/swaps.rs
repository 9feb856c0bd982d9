//! New weights, good and bad.

use stateset_domain::{Engine, EngineError, NamedTensor, PolicySnapshot, PolicyVersion};

use crate::{LIMITS, answer, engine, finish, request, snapshot};

/// Policy 1 with `change` made to every tensor.
fn changed(change: impl Fn(&mut NamedTensor)) -> PolicySnapshot {
    let mut tensors = snapshot(1).tensors().to_vec();
    tensors.iter_mut().for_each(change);
    PolicySnapshot::new(PolicyVersion(9), tensors)
}

fn serving_second() -> stateset_inference::BatchEngine {
    let mut engine = engine(LIMITS);
    engine.load(&snapshot(2)).unwrap();
    engine
}

#[test]
fn weights_swapped_in_mid_request_restart_it() {
    let mut swapped = engine(LIMITS);
    swapped.submit(request(1)).unwrap();
    (0..6).for_each(|_| drop(swapped.step().unwrap()));
    swapped.load(&snapshot(2)).unwrap();
    let reply = finish(&mut swapped).remove(&1001).unwrap();
    assert_eq!(reply, answer(&mut serving_second(), request(1)));
    assert_eq!(reply.version, PolicyVersion(2));
}

#[test]
fn weights_swapped_between_turns_leave_nothing_of_the_old_prefix() {
    let mut swapped = engine(LIMITS);
    answer(&mut swapped, request(1));
    swapped.load(&snapshot(2)).unwrap();
    assert_eq!(answer(&mut swapped, request(1)), answer(&mut serving_second(), request(1)));
}

#[test]
fn loading_tells_the_digest_of_what_is_served() {
    assert_eq!(engine(LIMITS).load(&snapshot(2)).unwrap(), snapshot(2).digest());
}

#[test]
fn a_snapshot_of_another_shape_is_refused_and_the_old_one_stays() {
    let mut engine_refusing = engine(LIMITS);
    let misshapen = changed(|tensor| tensor.shape.reverse());
    assert!(matches!(engine_refusing.load(&misshapen), Err(EngineError::Snapshot(_))));
    assert_eq!(answer(&mut engine_refusing, request(1)), answer(&mut engine(LIMITS), request(1)));
}

#[test]
fn weights_that_are_not_finite_fail_the_step_and_good_ones_serve_again() {
    let mut engine_recovering = engine(LIMITS);
    let broken = changed(|tensor| tensor.data = tensor.data.iter().map(|_| f32::NAN).collect());
    engine_recovering.load(&broken).unwrap();
    for filtered in [false, true] {
        let mut request = request(1);
        request.sampling.top_k = usize::from(filtered) * 5;
        engine_recovering.submit(request).unwrap();
        let failed = (0..50).find_map(|_| engine_recovering.step().err()).unwrap();
        assert!(matches!(failed, EngineError::Compute(_)), "{failed}");
    }
    assert_eq!(engine_recovering.step().unwrap().live, 0, "live requests are lost");
    engine_recovering.load(&snapshot(1)).unwrap();
    assert_eq!(answer(&mut engine_recovering, request(1)), answer(&mut engine(LIMITS), request(1)));
}

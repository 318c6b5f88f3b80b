//! Where a thread runs. Left to the scheduler, two threads that wake each other share a core in one run and not in
//! the next: the same round trip then takes 3 or 16 us.

/// Puts this thread on the first core.
pub(crate) fn first() {
    to(|_| 0);
}

/// Puts this thread on one of the other cores, where there are others.
pub(crate) fn other(number: usize) {
    to(|cores| if cores < 2 { 0 } else { 1 + number % (cores - 1) });
}

fn to(choose: impl Fn(usize) -> usize) {
    let cores = core_affinity::get_core_ids().unwrap_or_default();
    if let Some(core) = cores.get(choose(cores.len())) {
        assert!(core_affinity::set_for_current(*core), "the system refuses a core it has named");
    }
}

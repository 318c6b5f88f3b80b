//! The shortest schedule that still fails: parts are left out, ever smaller ones, as long as it does.

use super::operation::Operation;

/// `fails` tells what goes wrong with a schedule, if anything does.
pub(super) fn shortest(
    mut schedule: Vec<Operation>,
    mut failure: String,
    fails: impl Fn(&[Operation]) -> Option<String>,
) -> (Vec<Operation>, String) {
    let mut part = schedule.len().div_ceil(2);
    loop {
        let mut from = 0;
        let before = schedule.len();
        while from < schedule.len() {
            let to = (from + part).min(schedule.len());
            let rest = [&schedule[..from], &schedule[to..]].concat();
            match fails(&rest) {
                Some(still) => (schedule, failure) = (rest, still),
                None => from = to,
            }
        }
        if part == 1 && schedule.len() == before {
            return (schedule, failure);
        }
        part = part.div_ceil(2);
    }
}

#[test]
fn only_what_is_needed_to_fail_is_left() {
    let schedule = super::operation::schedule(1, 200);
    let is_needed = |one: &&Operation| matches!(one, Operation::Die { .. } | Operation::Close { .. });
    let needed = schedule.iter().filter(is_needed).count();
    let fails =
        |some: &[Operation]| (some.iter().filter(is_needed).count() == needed).then(|| "still".to_owned());
    let (left, failure) = shortest(schedule, "first".to_owned(), fails);
    assert_eq!((left.len(), failure.as_str()), (needed, "still"));
}

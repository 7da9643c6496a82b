//! What an import of several files comes to.

use super::{Failure, NotAll, Outcome};

/// Nothing was taken, though nothing is wrong with the relay. The exit code is 1, unless another part of the import was taken.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct NothingTaken(String);

/// Done, done but not for everything, or nothing taken. `total`: events or blocks; `unread`: what was wrong with files that
/// could not be read to their end.
pub(super) fn outcome(total: u64, refused: u64, unread: &[String]) -> Outcome {
    let mut why = unread.to_vec();
    if refused > 0 && refused == total {
        why.push(format!("nothing was taken: all {total} were refused"));
    } else if refused > 0 {
        why.push(format!("{refused} of {total} were refused"));
    }
    match why.join("\n") {
        why if why.is_empty() => Ok(()),
        why if refused == total => Err(NothingTaken(why).into()),
        why => Err(NotAll(why).into()),
    }
}

/// Two parts of an import together.
pub(super) fn both(one: Outcome, other: Outcome) -> Outcome {
    match (one, other) {
        (Ok(()), Ok(())) => Ok(()),
        (Ok(()), Err(error)) | (Err(error), Ok(())) if error.is::<NothingTaken>() => {
            Err(NotAll(error.to_string()).into())
        }
        (Ok(()), Err(error)) | (Err(error), Ok(())) => Err(error),
        (Err(error), Err(other)) => Err(worse(error, other)),
    }
}

fn worse(one: Failure, other: Failure) -> Failure {
    let is_failure = |error: &Failure| !error.is::<NotAll>() && !error.is::<NothingTaken>();
    let why = format!("{one}\n{other}");
    match () {
        () if is_failure(&one) || is_failure(&other) => why.into(),
        () if one.is::<NotAll>() || other.is::<NotAll>() => NotAll(why).into(),
        () => NothingTaken(why).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(outcome: &Outcome) -> u8 {
        match outcome {
            Ok(()) => 0,
            Err(error) if error.is::<NotAll>() => 3,
            Err(_) => 1,
        }
    }

    #[test]
    fn codes() {
        let unread = ["a.jsonl: is not there".to_owned()];
        for (total, refused, unread, expected) in [
            (0, 0, &[][..], 0),
            (5, 0, &[], 0),
            (5, 1, &[], 3),
            (5, 5, &[], 1),
            (0, 0, &unread, 1),
            (5, 0, &unread, 3),
            (5, 1, &unread, 3),
            (5, 5, &unread, 1),
        ] {
            let outcome = outcome(total, refused, unread);
            assert_eq!(code(&outcome), expected, "{total} {refused} {unread:?}: {outcome:?}");
        }
    }

    #[test]
    fn codes_of_two_parts() {
        let failed = || -> Outcome { Err("the disk is full".into()) };
        let (done, some, nothing) = (|| outcome(1, 0, &[]), || outcome(2, 1, &[]), || outcome(1, 1, &[]));
        let parts: [(&dyn Fn() -> Outcome, [u8; 4]); 4] =
            [(&done, [0, 3, 3, 1]), (&some, [3, 3, 3, 1]), (&nothing, [3, 3, 1, 1]), (&failed, [1, 1, 1, 1])];
        for (one, expected) in &parts {
            for ((other, _), expected) in parts.iter().zip(expected) {
                let (one, other) = (one(), other());
                let shown = format!("{one:?} {other:?}");
                assert_eq!(code(&both(one, other)), *expected, "{shown}");
            }
        }
    }
}

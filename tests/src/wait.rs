//! Waiting for something another process does, with an end and a sentence about what was awaited.

use std::thread::sleep;
use std::time::{Duration, Instant};

/// How often a condition is looked at.
const POLL: Duration = Duration::from_millis(50);

/// Polls until `probe` gives `Ok`. After `limit` it panics, naming `what` was awaited and the last
/// `Err`: the state that it was stuck in.
pub fn wait_for<T>(what: &str, limit: Duration, mut probe: impl FnMut() -> Result<T, String>) -> T {
    let start = Instant::now();
    loop {
        match probe() {
            Ok(value) => return value,
            Err(state) if start.elapsed() >= limit => {
                panic!("after {} s still waiting for {what}; last seen: {state}", limit.as_secs())
            }
            Err(_) => sleep(POLL),
        }
    }
}

/// Polls until `done`, or panics after `limit`.
pub fn wait_until(what: &str, limit: Duration, mut done: impl FnMut() -> bool) {
    wait_for(what, limit, || if done() { Ok(()) } else { Err("not yet".to_owned()) });
}

/// Seconds, for the many limits that tests write down.
pub const fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gives_the_value_as_soon_as_there_is_one() {
        let mut left = 3;
        let value = wait_for("three polls", secs(5), || {
            left -= 1;
            if left == 0 { Ok("done") } else { Err(format!("{left} left")) }
        });
        assert_eq!(value, "done");
    }

    #[test]
    #[should_panic(expected = "after 0 s still waiting for rain; last seen: dry")]
    fn a_time_out_says_what_was_awaited_and_what_was_seen() {
        wait_for("rain", Duration::from_millis(120), || Err::<(), _>("dry".to_owned()));
    }
}

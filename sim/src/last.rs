//! One copy of what thousands of hosts have alike.

use std::sync::{Arc, Mutex, PoisonError, Weak};

/// The value that was asked for last, while anybody has it. It changes nothing but the room taken.
pub(crate) struct Last<T>(Mutex<Weak<T>>);

impl<T: PartialEq> Last<T> {
    /// None yet.
    pub(crate) const fn new() -> Last<T> {
        Last(Mutex::new(Weak::new()))
    }

    /// `value`, or the one before if that is the same.
    pub(crate) fn share(&self, value: T) -> Arc<T> {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(last) = last.upgrade().filter(|last| **last == value) {
            return last;
        }
        let value = Arc::new(value);
        *last = Arc::downgrade(&value);
        value
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_alike_is_there_once() {
        static LAST: Last<Vec<u8>> = Last::new();
        let (one, two, other) = (LAST.share(vec![1]), LAST.share(vec![1]), LAST.share(vec![2]));
        assert!(Arc::ptr_eq(&one, &two));
        assert_eq!((&*one, &*other), (&vec![1], &vec![2]));
    }
}

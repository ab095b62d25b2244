//! Builders and real peers for the tests.

//! The project's own programs.

//! A room as a file.

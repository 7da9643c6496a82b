//! picorelay-tests

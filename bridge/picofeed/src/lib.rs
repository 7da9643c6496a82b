//! picofeed

//! The plain backend: everything in one sorted list, every rule written the obvious way.

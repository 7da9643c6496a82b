//! pico-bridge

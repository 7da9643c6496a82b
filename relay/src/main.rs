//! The `picorelay` program. All of it is in the library; `cli` says what it can do.

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[tokio::main]
async fn main() -> std::process::ExitCode {
    picorelay::cli::main().await
}

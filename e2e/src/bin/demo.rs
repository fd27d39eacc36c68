//! `demo`: shows Weir at work on the lab, step by step. `make demo` runs it by `e2e/lab exec`.

use std::process::ExitCode;

use weir_e2e::demo;

fn main() -> ExitCode {
    match demo::run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("\ndemo: {error:#}");
            ExitCode::FAILURE
        }
    }
}

//! The `marmoset` binary; everything is in the library, where tests reach it.

fn main() -> std::process::ExitCode {
    marmoset_cli::main()
}

//! What lies under `deploy/`: the chart is rendered and every manifest checked, by the program that does it by hand too.

use crate::agent::output;
use std::path::Path;
use std::process::Command;

#[test]
fn charts_and_manifests_are_as_the_api_wants_them_and_their_configurations_valid() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let installed = root.join("target/ci-venv/bin/python");
    let python = if installed.exists() { installed } else { "python3".into() };
    let mut command = Command::new(python);
    command.arg(root.join("deploy/render.py")).args(["--tidegate", env!("CARGO_BIN_EXE_tidegate")]);
    let (code, out, said) = output(command);
    if code == Some(77) {
        return print!("{out}");
    }
    assert_eq!(code, Some(0), "{out}{said}");
}

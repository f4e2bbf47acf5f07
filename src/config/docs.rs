//! Writes `docs/configuration.md` from the table, and checks that it is up to date.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use super::settings::SETTINGS;
use super::settings::Setting;

const UPDATE: &str = "UPDATE_DOCS=1 cargo test config::docs";

const INTRODUCTION: &str = "\
# Configuration of `dockside serve`

Each setting has one name. It is the name of a flag, as in `--log-level debug` or `--log-level=debug`, and of a key in the TOML file that
`--config FILE` names. A flag overrides the file, and the file overrides the default. There is no other source: no file is read unless it is
named, and the environment is not read, except that an empty `docker-endpoint` means the one in `DOCKER_HOST`.

With an unknown key or a value that cannot be used, Dockside does not start; the message names the file, the line and the key, or the flag.
";

const FORMS: &str = "\
## How values are written

- **URL**: `unix://` and an absolute path. Dockside and Docker share the processes, namespaces and files of one machine, so `tcp://` is not possible.
- **DIR**, **FILE**: an absolute path. **DIRS**: several, with commas between them; in the file also an array of strings.
- **CIDRS**: an address range such as `10.244.1.0/24`, or an IPv4 and an IPv6 range with a comma between them; in the file also an array of strings.
- **ADDRESS**: an IP address and a port, as in `127.0.0.1:10010` or `[::1]:0`.
- **DURATION**: a number with a unit, as in `30s`, `500ms` or `1.5h`, or several of them, as in `1m30s`. A bare `0` is a duration too.
- **LEVEL**: `error`, `warn`, `info`, `debug` or `trace`; also `fatal` and `panic`, which mean `error`.
";

const COMPAT: &str = "\
## cri-dockerd's names

Dockside accepts the flags of cri-dockerd, except some values of the flags in the last table below, and `fd://`, a socket that systemd creates:
Dockside creates its own socket; name it, as in `unix:///run/cri-dockerd.sock`, and disable the socket unit. Where cri-dockerd has another name
for a setting, that name is accepted as a flag and as a key; giving a setting by both names is an error.
";

const WITHOUT_EFFECT: &str = "\
These flags of cri-dockerd have no effect in Dockside. A value that did not affect pods is accepted, with a warning unless it is the default; a
value that pods or the node depend on is refused.
";

/// The whole document.
fn markdown() -> String {
    let mut text =
        format!("<!-- Made from src/config/settings.rs by `{UPDATE}`. -->\n\n{INTRODUCTION}\n## Settings\n\n");
    table(&mut text, |setting| !setting.is_compat());
    let _ = write!(text, "\n{FORMS}\n## A file with all defaults\n\n```toml\n{}```\n\n{COMPAT}\n", sample());
    renamed(&mut text);
    let _ = writeln!(text, "{WITHOUT_EFFECT}");
    table(&mut text, Setting::is_compat);
    text
}

fn table(text: &mut String, is_included: impl Fn(&Setting) -> bool) {
    text.push_str("| Name | Value | Default | What it does |\n| --- | --- | --- | --- |\n");
    for setting in SETTINGS.iter().filter(|setting| is_included(setting)) {
        let default = if setting.default.is_empty() { String::new() } else { format!("`{}`", setting.default) };
        let _ = writeln!(
            text,
            "| `{}` | {} | {default} | {} |",
            setting.name,
            setting.form.replace('|', "\\|"),
            setting.help
        );
    }
}

fn renamed(text: &mut String) {
    text.push_str("| cri-dockerd | Dockside |\n| --- | --- |\n");
    for setting in SETTINGS {
        for alias in setting.aliases {
            let _ = writeln!(text, "| `{alias}` | `{}` |", setting.name);
        }
    }
    text.push('\n');
}

/// A file with all defaults. A setting without a default is a comment.
pub(super) fn sample() -> String {
    let mut text = String::new();
    for setting in SETTINGS.iter().filter(|setting| !setting.is_compat()) {
        let _ = match setting.default {
            "" => writeln!(text, "# {} = \"\"", setting.name),
            default => writeln!(text, "{} = \"{default}\"", setting.name),
        };
    }
    text
}

/// Checks that a file of the repository has the expected text, or writes it if `UPDATE_DOCS` is set, as the command `update`
/// does.
pub(crate) fn check(path: &str, expected: &str, update: &str) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    if std::env::var_os("UPDATE_DOCS").is_some() {
        return fs::write(file, expected).unwrap();
    }
    let written = fs::read_to_string(file).unwrap_or_default();
    let first = written.lines().zip(expected.lines()).position(|(old, new)| old != new);
    assert!(
        written == expected,
        "{path} is out of date (first difference: line {:?}); run: {update}",
        first.map(|n| n + 1)
    );
}

#[test]
fn the_documentation_agrees_with_the_table() {
    check("docs/configuration.md", &markdown(), UPDATE);
}

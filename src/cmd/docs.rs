//! Writes `docs/commands.md` from the programs' arguments, and checks that it is up to date. The flags of `dockside serve` are
//! settings; `config::docs` writes their document.

use std::fmt::Write as _;

use clap::Arg;
use clap::ArgAction;
use clap::Args as _;
use clap::Command;
use clap::CommandFactory as _;

use super::pod::PodArgs;
use crate::config::docs::check;

const UPDATE: &str = "UPDATE_DOCS=1 cargo test cmd::docs";

const INTRODUCTION: &str = "\
# Flags of `dockside pod` and `dockside-scheduler`

The flags of a command are also accepted by its subcommands. An argument that may be repeated ends in `...`. The settings of
`dockside serve` are in [configuration.md](configuration.md), with the forms of values such as DURATION.
";

fn markdown() -> String {
    let mut text = format!("<!-- Made from the programs by `{UPDATE}`. -->\n\n{INTRODUCTION}");
    let pod = PodArgs::augment_args(Command::new("dockside pod"));
    section(&mut text, &pod.about("Run pods by hand, step by step, as a kubelet would"), "");
    section(&mut text, &dockside_scheduler::Cli::command(), "");
    text
}

/// A command and its subcommands.
fn section(text: &mut String, command: &Command, parent: &str) {
    let name = format!("{parent}{}", command.get_name());
    let about = command.get_about().map(ToString::to_string).unwrap_or_default();
    let _ = write!(text, "\n## `{name}`\n\n{about}.\n");
    let arguments: Vec<_> = command.get_arguments().filter(|argument| !argument.is_hide_set()).collect();
    if !arguments.is_empty() {
        text.push_str("\n| Flag or argument | Default | What it does |\n| --- | --- | --- |\n");
        arguments.iter().for_each(|argument| row(text, argument));
    }
    for subcommand in command.get_subcommands().filter(|subcommand| !subcommand.is_hide_set()) {
        section(text, subcommand, &format!("{name} "));
    }
}

fn row(text: &mut String, argument: &Arg) {
    let value =
        argument.get_value_names().filter(|_| argument.get_action().takes_values()).unwrap_or_default().join(" ");
    let flag = argument.get_long().map(|long| format!("--{long}"));
    let short = argument.get_short().map(|short| format!("-{short}, ")).unwrap_or_default();
    let written = format!("{short}{} {value}", flag.unwrap_or_default());
    let several = if matches!(argument.get_action(), ArgAction::Append) { "..." } else { "" };
    let defaults = argument.get_default_values().iter().map(|value| format!("`{}`", value.to_string_lossy()));
    let mut default = defaults.filter(|_| argument.get_action().takes_values()).collect::<Vec<_>>().join(" ");
    if let Some(variable) = argument.get_env() {
        default = format!("`${}`, else {default}", variable.to_string_lossy());
    }
    let help = argument.get_help().map(ToString::to_string).unwrap_or_default();
    let _ = writeln!(text, "| `{}{several}` | {default} | {help} |", written.trim().replace('|', "\\|"));
}

#[test]
fn the_documentation_agrees_with_the_programs() {
    check("docs/commands.md", &markdown(), UPDATE);
}

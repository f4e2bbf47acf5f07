//! How a client hears what became of its command: on the error channel, in the words that client-go parses
//! (k8s.io/apimachinery `metav1.Status`, k8s.io/client-go/tools/remotecommand).

use serde_json::json;

/// How a session ended.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Success,
    ExitCode(i32),
    Failure(String),
}

/// What the protocol's version lets a client understand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wording {
    /// Up to version 3: a sentence, and nothing when all went well.
    Plain,
    /// From version 4: a status object.
    Json,
}

impl Verdict {
    /// The message; empty when there is nothing to say.
    pub(super) fn message(&self, wording: Wording) -> String {
        match (wording, self) {
            (Wording::Plain, Verdict::Success) => String::new(),
            (Wording::Plain, Verdict::ExitCode(code)) => not_zero(*code),
            (Wording::Plain, Verdict::Failure(reason)) => reason.clone(),
            (Wording::Json, Verdict::Success) => json!({ "metadata": {}, "status": "Success" }).to_string(),
            (Wording::Json, Verdict::ExitCode(code)) => json!({
                "metadata": {},
                "status": "Failure",
                "message": not_zero(*code),
                "reason": "NonZeroExitCode",
                "details": { "causes": [{ "reason": "ExitCode", "message": code.to_string() }] },
            })
            .to_string(),
            (Wording::Json, Verdict::Failure(reason)) => json!({
                "metadata": {},
                "status": "Failure",
                "message": format!("Internal error occurred: {reason}"),
                "reason": "InternalError",
                "details": { "causes": [{ "message": reason }] },
                "code": 500,
            })
            .to_string(),
        }
    }

    /// The verdict on a process that ended.
    pub(super) fn of_exit(code: i32) -> Verdict {
        if code == 0 { Verdict::Success } else { Verdict::ExitCode(code) }
    }
}

fn not_zero(code: i32) -> String {
    format!("command terminated with exit code {code}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exit_code_travels_as_a_cause() {
        let message = Verdict::of_exit(3).message(Wording::Json);
        let status: serde_json::Value = serde_json::from_str(&message).unwrap();
        assert_eq!(status["reason"], "NonZeroExitCode");
        assert_eq!(status["details"]["causes"][0], json!({ "reason": "ExitCode", "message": "3" }));
    }

    #[test]
    fn old_clients_hear_nothing_when_all_went_well() {
        assert_eq!(Verdict::of_exit(0).message(Wording::Plain), "");
        assert_eq!(Verdict::Failure("no".into()).message(Wording::Plain), "no");
    }
}

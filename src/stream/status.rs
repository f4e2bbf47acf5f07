//! The status of a session as the client receives it: on the error channel, in the formats that client-go parses
//! (k8s.io/apimachinery `metav1.Status`, k8s.io/client-go/tools/remotecommand).

use serde_json::json;

/// How a session ended.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum SessionStatus {
    /// The process exited with code 0, or the container's output ended.
    Success,
    /// The process exited with this code, which is not 0.
    NonZeroExitCode(i32),
    /// The session failed, for this reason.
    Failure(String),
}

/// The format of a status, which the protocol's version determines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum StatusFormat {
    /// Up to version 3: a sentence, and nothing on success.
    Plain,
    /// From version 4: a `metav1.Status`.
    Json,
}

impl SessionStatus {
    /// The status of a session whose process exited with `code`.
    pub(super) fn from_exit_code(code: i32) -> SessionStatus {
        if code == 0 { SessionStatus::Success } else { SessionStatus::NonZeroExitCode(code) }
    }

    /// The message for the error channel; when it is empty, nothing is sent.
    pub(super) fn encode(&self, format: StatusFormat) -> String {
        match (format, self) {
            (StatusFormat::Plain, SessionStatus::Success) => String::new(),
            (StatusFormat::Plain, SessionStatus::NonZeroExitCode(code)) => exit_code_message(*code),
            (StatusFormat::Plain, SessionStatus::Failure(reason)) => reason.clone(),
            (StatusFormat::Json, SessionStatus::Success) => json!({ "metadata": {}, "status": "Success" }).to_string(),
            (StatusFormat::Json, SessionStatus::NonZeroExitCode(code)) => json!({
                "metadata": {},
                "status": "Failure",
                "message": exit_code_message(*code),
                "reason": "NonZeroExitCode",
                "details": { "causes": [{ "reason": "ExitCode", "message": code.to_string() }] },
            })
            .to_string(),
            (StatusFormat::Json, SessionStatus::Failure(reason)) => json!({
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
}

fn exit_code_message(code: i32) -> String {
    format!("command terminated with exit code {code}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exit_code_is_a_cause_of_the_status() {
        let message = SessionStatus::from_exit_code(3).encode(StatusFormat::Json);
        let status: serde_json::Value = serde_json::from_str(&message).unwrap();
        assert_eq!(status["reason"], "NonZeroExitCode");
        assert_eq!(status["details"]["causes"][0], json!({ "reason": "ExitCode", "message": "3" }));
    }

    #[test]
    fn old_clients_get_no_message_on_success() {
        assert_eq!(SessionStatus::from_exit_code(0).encode(StatusFormat::Plain), "");
        assert_eq!(SessionStatus::Failure("no".into()).encode(StatusFormat::Plain), "no");
    }
}

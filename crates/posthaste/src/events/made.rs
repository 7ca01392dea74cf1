//! Which events an observation makes.

use std::sync::Arc;

use posthaste_scheduler::{
    Cause, Hold, Observation, RecipientReport, RecipientState, Record, Report,
};
use posthaste_session::{CloseReason, Finished, Outcome as Answer};

use super::stream::EventSender;
use super::{Attempt, EventKind, Limit, Outcome, Said, ServerState};

pub(super) fn events(to: &EventSender, observation: Observation<'_>) {
    match observation {
        Observation::Record(record) => {
            if let Some(kind) = of_record(to, record) {
                to.send(kind);
            }
        }
        Observation::Ready(server, connection, info, _) => to.send(EventKind::ConnectionOpened {
            server: to.server(server),
            connection: connection.index() as u64,
            peer: info.peer.to_string(),
            tls: info.tls.as_ref().map(|tls| tls.version.to_string()),
        }),
        Observation::Attempted(server, connection, finished, mail) => {
            let connection = connection.index() as u64;
            to.send(EventKind::Attempt(attempt(to.server(server), connection, mail, finished)));
        }
        Observation::Reported { mail, class, tenant, report } => {
            for recipient in &report.recipients {
                let outcome = Outcome {
                    mail,
                    class: class.as_str(),
                    tenant: tenant.index() as u64,
                    ..outcome(report, recipient)
                };
                to.send(match recipient.state {
                    RecipientState::Delivered => EventKind::Delivered(outcome),
                    RecipientState::Failed => EventKind::Failed(outcome),
                    RecipientState::Deferred => EventKind::Deferred(outcome),
                    RecipientState::InDoubt => EventKind::InDoubt(outcome),
                });
            }
        }
        Observation::Failed(server, connection, error) => to.send(EventKind::ConnectionFailed {
            server: to.server(server),
            connection: connection.index() as u64,
            error: chain(error),
        }),
        Observation::Closed(server, connection, reason) => to.send(EventKind::ConnectionClosed {
            server: to.server(server),
            connection: connection.index() as u64,
            how: how(reason),
            stage: reason.stage().as_str(),
            said: said(reason),
        }),
        _ => {}
    }
}

fn of_record(to: &EventSender, record: Record) -> Option<EventKind> {
    let state = |server, state, why, failures, until| EventKind::ServerStateChanged {
        server: to.server(server),
        state,
        why,
        failures,
        until,
    };
    let limit =
        |server, limit, until| EventKind::LimitLearned { server: to.server(server), limit, until };
    Some(match record {
        Record::BackOff { server, failures, until } => {
            state(server, ServerState::BackingOff, None, Some(failures), to.wall(until))
        }
        Record::Recovered { server, failures } => {
            state(server, ServerState::Normal, None, Some(failures), None)
        }
        Record::Held { server, hold: Hold::Throttled, until } => {
            let why = Some(Hold::Throttled.as_str());
            state(server, ServerState::Slowed, why, None, to.wall(until))
        }
        Record::Held { server, hold, until } => {
            state(server, ServerState::Held, Some(hold.as_str()), None, to.wall(until))
        }
        Record::CeilingLearned { server, connections, until } => {
            limit(server, Limit::Connections(connections), to.wall(until))
        }
        Record::PipeliningLearned { server, mode } => limit(server, Limit::Pipelining(mode), None),
        Record::SessionCapLearned { server, mails } => {
            limit(server, Limit::MailsPerConnection(mails), None)
        }
        Record::RecipientCapLearned { server, recipients } => {
            limit(server, Limit::Recipients(recipients), None)
        }
        Record::PaceLearned { server, per_minute } => {
            limit(server, Limit::MailsPerMinute(per_minute), None)
        }
        Record::GreylistLearned { server, wait } => limit(server, Limit::Greylisting(wait), None),
        Record::Overloaded { server, window } => limit(server, Limit::MailsAtATime(window), None),
        // Attempts and ends of connections have events of their own.
        _ => return None,
    })
}

fn attempt(server: Arc<str>, connection: u64, mail: u64, finished: &Finished) -> Attempt {
    let count = |is_one: fn(&Answer) -> bool| {
        let outcomes = finished.outcomes.iter().filter(|outcome| is_one(outcome));
        u32::try_from(outcomes.count()).unwrap_or(u32::MAX)
    };
    let refusal = finished.outcomes.iter().find_map(|outcome| match outcome {
        Answer::Refused(refusal) => Some(refusal),
        Answer::Delivered(_) | Answer::NotSent(_) | Answer::InDoubt => None,
    });
    let reply = match refusal {
        Some(refusal) => Some(&refusal.reply),
        None => finished.outcomes.last().and_then(Answer::reply),
    };
    let timing = &finished.timing;
    Attempt {
        mail,
        server,
        connection,
        accepted: count(Answer::is_delivered),
        refused: count(|outcome| matches!(outcome, Answer::Refused(_))),
        not_sent: count(|outcome| matches!(outcome, Answer::NotSent(_))),
        in_doubt: count(|outcome| matches!(outcome, Answer::InDoubt)),
        took: timing.mail.zip(timing.finished).map(|(from, to)| to.saturating_duration_since(from)),
        stage: refusal.map(|refusal| refusal.stage.as_str()),
        said: reply.map(Said::from),
    }
}

/// All but whose mail it is.
fn outcome(report: &Report, recipient: &RecipientReport) -> Outcome {
    let queued = report.timing.queued();
    Outcome {
        mail: 0,
        class: "",
        tenant: 0,
        rcpt: recipient.forward_path.as_str().to_owned(),
        cause: recipient.cause.map(Cause::as_str),
        attempts: recipient.attempts,
        queued,
        sent: report.timing.total().saturating_sub(queued),
        stage: recipient.stage.map(|stage| stage.as_str()),
        said: recipient.reply.as_ref().map(Said::from),
    }
}

/// The name of the end of a session in records.
pub(crate) fn how(reason: &CloseReason) -> &'static str {
    match reason {
        CloseReason::Quit => "quit",
        CloseReason::Refused { .. } => "refused",
        CloseReason::Shutdown { .. } => "shutdown",
        CloseReason::Lost { .. } => "lost",
        CloseReason::Timeout { .. } => "timeout",
        CloseReason::Violation { .. } => "violation",
        CloseReason::Objected { .. } => "objected",
        CloseReason::Unavailable(_) => "unavailable",
        CloseReason::Aborted { .. } => "aborted",
    }
}

fn said(reason: &CloseReason) -> Option<Said> {
    match reason {
        CloseReason::Refused { reply, .. } | CloseReason::Shutdown { reply, .. } => {
            Some(Said::from(reply))
        }
        CloseReason::Quit
        | CloseReason::Lost { .. }
        | CloseReason::Timeout { .. }
        | CloseReason::Violation { .. }
        | CloseReason::Objected { .. }
        | CloseReason::Unavailable(_)
        | CloseReason::Aborted { .. } => None,
    }
}

/// An error and what led to it.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(source) = next {
        text += &format!(": {source}");
        next = source.source();
    }
    text
}

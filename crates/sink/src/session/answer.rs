//! Giving replies, and what fault rules make of them.

use std::sync::Arc;
use std::time::Duration;

use super::{Close, Event, Pace, Session};
use crate::fault::engine::Occasion;
use crate::fault::{Action, Answer};
use crate::reply::{Code, Reply};
use crate::stage::Stage;

/// A step of what a session does later.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    Write(Vec<u8>),
    Wait(Duration),
    Stall,
    End(Event),
}

/// What an answer is about, beyond the transaction at hand.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct About<'a> {
    pub(super) reverse_path: Option<&'a [u8]>,
    pub(super) recipient: Option<&'a [u8]>,
}

/// The part of a fault that matters to the session's own state.
#[derive(Debug, Clone, Copy)]
pub(super) struct Given {
    /// The code the state follows: that of the reply given, or of the usual one if there is none.
    pub(super) code: Code,
}

impl Session {
    /// Gives the usual reply at this stage, or what a fault rule says instead.
    pub(super) fn answer(&mut self, stage: Stage, about: About<'_>, usual: Reply<'_>) -> Given {
        match self.fault(stage, about) {
            None => {
                self.write(usual);
                Given { code: usual.code }
            }
            Some(action) => {
                self.act(&action, Some(usual));
                Given { code: action.code().unwrap_or(usual.code) }
            }
        }
    }

    /// The actions of the rule that applies here.
    pub(super) fn fault(&mut self, stage: Stage, about: About<'_>) -> Option<Action> {
        if self.server.faults.any_at(stage) { self.choose_fault(stage, about) } else { None }
    }

    /// Apart, because most stages of most sinks have no rules.
    #[cold]
    fn choose_fault(&mut self, stage: Stage, about: About<'_>) -> Option<Action> {
        let server = Arc::clone(&self.server);
        let occasion = Occasion {
            stage,
            age: server.age(self.now),
            envelope: &self.transaction.envelope,
            reverse_path: about.reverse_path,
            recipient: about.recipient,
        };
        let rule = server.faults.choose(&occasion, &mut self.faults)?;
        Some(rule.action.clone())
    }

    /// Does what a rule says, with `usual` where it leaves the reply alone.
    pub(super) fn act(&mut self, action: &Action, usual: Option<Reply<'_>>) {
        let mut octets = action.garbage.clone();
        match (action.answer(), usual) {
            (Answer::Usual, Some(reply)) => reply.write(self.enhanced(), &mut octets),
            (Answer::Octets(reply), _) => octets.extend_from_slice(reply),
            (Answer::Usual, None) | (Answer::Nothing, _) => {}
        }
        octets.extend_from_slice(&action.surplus);
        if let Some(delay) = action.delay {
            self.step(Step::Wait(delay));
        }
        match action.trickle {
            None => self.step(Step::Write(octets)),
            Some(pause) => {
                for (index, octet) in octets.into_iter().enumerate() {
                    // Behind the last one the client may go on at once.
                    if index > 0 {
                        self.step(Step::Wait(pause));
                    }
                    self.step(Step::Write(vec![octet]));
                }
            }
        }
        if let Some(close) = action.close {
            self.step(Step::End(Event::Close(close)));
        }
        if action.stall {
            self.step(Step::Stall);
        }
    }

    /// Gives a reply that no rule changes.
    pub(super) fn write(&mut self, reply: Reply<'_>) {
        let enhanced = self.enhanced();
        if self.is_listening() {
            reply.write(enhanced, &mut self.out);
            return;
        }
        let mut octets = Vec::new();
        reply.write(enhanced, &mut octets);
        self.step(Step::Write(octets));
    }

    /// Gives octets that are a whole reply.
    pub(super) fn write_octets(&mut self, octets: &[u8]) {
        if self.is_listening() {
            self.out.extend_from_slice(octets);
        } else {
            self.step(Step::Write(octets.to_vec()));
        }
    }

    /// The connection closes behind what was said so far.
    pub(super) fn end(&mut self, close: Close) {
        self.step(Step::End(Event::Close(close)));
    }

    /// The connection closes now; what waits to be said is not said.
    pub(super) fn cut_short(&mut self, close: Close) {
        self.script.clear();
        self.resume_at = None;
        if self.pace == Pace::Stalled {
            self.pace = Pace::Running;
        }
        self.end(close);
    }

    /// Does a step now, or behind the steps that wait.
    pub(super) fn step(&mut self, step: Step) {
        self.script.push_back(step);
        if self.resume_at.is_none() {
            self.run_script();
        }
    }

    /// Does steps up to the next one that takes time. Nothing is done behind an end.
    pub(super) fn run_script(&mut self) {
        while self.pace == Pace::Running {
            match self.script.pop_front() {
                None => return,
                Some(Step::Write(octets)) => self.out.extend_from_slice(&octets),
                Some(Step::Wait(time)) => {
                    self.resume_at = Some(self.now + time);
                    return;
                }
                Some(Step::Stall) => self.pace = Pace::Stalled,
                Some(Step::End(event)) => {
                    self.event = Some(event);
                    self.pace = match event {
                        Event::StartTls => Pace::Handshake,
                        Event::Close(_) => Pace::Ended,
                    };
                }
            }
        }
        self.script.clear();
    }
}

impl Action {
    /// The code of the reply given, if one is given that has one.
    pub(super) fn code(&self) -> Option<Code> {
        match self.answer() {
            Answer::Octets(octets) => Code::of(octets),
            Answer::Usual | Answer::Nothing => None,
        }
    }

    /// Whether the rule withholds the reply.
    pub(super) fn is_silent(&self) -> bool {
        *self.answer() == Answer::Nothing
    }
}

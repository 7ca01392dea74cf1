//! Several observers where an engine has room for one.

use std::sync::Arc;

use posthaste_scheduler::{Observation, Observer};

/// Tells each of them everything, in the order in which they came.
#[derive(Clone, Default)]
pub(crate) struct Observers(Vec<Arc<dyn Observer>>);

impl Observers {
    pub(crate) fn add(&mut self, observer: Arc<dyn Observer>) {
        self.0.push(observer);
    }

    /// As one; `None` where nobody watches, so that nothing is spent on it.
    pub(crate) fn into_observer(mut self) -> Option<Arc<dyn Observer>> {
        match self.0.len() {
            0 | 1 => self.0.pop(),
            _ => Some(Arc::new(self)),
        }
    }
}

impl Observer for Observers {
    fn observe(&self, observation: Observation<'_>) {
        for observer in &self.0 {
            observer.observe(observation);
        }
    }
}

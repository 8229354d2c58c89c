//! Admission: room for a request is taken before any of it is buffered, or it is turned away at once.

use std::sync::Arc;

use axum::http::{HeaderMap, header};
use metrics::{counter, gauge};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::Shared;
use super::answer::Turned;
use shardmill_actors::telemetry as name;

/// What one record costs beside its payload: its key, its place in lists, the verdict on it.
pub(super) const RECORD_COST: usize = 200;

/// The room one request holds; given back when it is dropped.
pub(super) struct Admission {
    budget: Arc<Semaphore>,
    total: usize,
    memory: Vec<OwnedSemaphorePermit>,
    _slot: OwnedSemaphorePermit,
}

impl Admission {
    /// Takes a place and room for the body as announced, or for the largest one when it is not announced.
    pub(super) fn request(shared: &Shared, headers: &HeaderMap) -> Result<Admission, Turned> {
        let max_body = shared.options.max_body;
        let announced =
            headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
        if announced.is_some_and(|length| length > max_body) {
            return Err(Turned::TooLarge(max_body));
        }
        let slot = shared.slots.clone().try_acquire_owned().map_err(|_| {
            counter!(name::COLLECT_OVERLOAD, "why" => "in_flight").increment(1);
            Turned::Busy
        })?;
        let mut admission = Admission {
            budget: shared.options.budget.clone(),
            total: shared.budget_total,
            memory: Vec::with_capacity(3),
            _slot: slot,
        };
        admission.charge(announced.unwrap_or(max_body))?;
        Ok(admission)
    }

    /// Takes `bytes` more, or fails at once when they are not free.
    pub(super) fn charge(&mut self, bytes: usize) -> Result<(), Turned> {
        let permits = u32::try_from(bytes).map_err(|_| Turned::Memory)?;
        match self.budget.clone().try_acquire_many_owned(permits) {
            Ok(permit) => {
                self.memory.push(permit);
                self.show();
                Ok(())
            }
            Err(_) => {
                counter!(name::COLLECT_OVERLOAD, "why" => "memory").increment(1);
                Err(Turned::Memory)
            }
        }
    }

    /// Gives back all but `bytes`.
    pub(super) fn shrink_to(&mut self, bytes: usize) {
        let mut surplus = self.held().saturating_sub(bytes);
        while let Some(mut permit) = self.memory.pop() {
            let take = permit.num_permits().min(surplus);
            drop(permit.split(take));
            surplus -= take;
            if permit.num_permits() > 0 {
                self.memory.push(permit);
                break;
            }
        }
        self.show();
    }

    fn held(&self) -> usize {
        self.memory.iter().map(OwnedSemaphorePermit::num_permits).sum()
    }

    #[allow(clippy::cast_precision_loss)] // a gauge is a float, and a budget far below 2^52
    fn show(&self) {
        gauge!(name::COLLECT_BUDGET_USED)
            .set(self.total.saturating_sub(self.budget.available_permits()) as f64);
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        self.memory.clear();
        self.show();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn room_is_taken_given_back_and_refused() {
        let budget = Arc::new(Semaphore::new(100));
        let slot = Arc::new(Semaphore::new(1)).try_acquire_owned().unwrap();
        let mut admission = Admission { budget: budget.clone(), total: 100, memory: Vec::new(), _slot: slot };
        admission.charge(60).unwrap();
        admission.charge(30).unwrap();
        assert!(admission.charge(11).is_err());
        admission.shrink_to(50);
        assert_eq!((admission.held(), budget.available_permits()), (50, 50));
        admission.shrink_to(0);
        assert_eq!(budget.available_permits(), 100);
        admission.charge(70).unwrap();
        drop(admission);
        assert_eq!(budget.available_permits(), 100);
    }
}

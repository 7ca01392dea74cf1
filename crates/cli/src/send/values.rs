//! The values of the flags of `send`.

use std::time::Duration;

use posthaste::scheduler::Exhausted;

use crate::units::duration;

pub(super) fn exhausted(text: &str) -> Result<Exhausted, &'static str> {
    match text {
        "fail" => Ok(Exhausted::Fail),
        "wait" => Ok(Exhausted::Wait),
        _ => Err("expected fail or wait"),
    }
}

pub(super) fn backoff(text: &str) -> Result<(Duration, Duration), String> {
    let (min, max) = text.split_once("..").ok_or("expected MIN..MAX, e.g. 1s..5m")?;
    let read = |text| duration(text).map_err(|error| error.to_string());
    let (min, max) = (read(min)?, read(max)?);
    if min > max {
        return Err("the shortest wait is longer than the longest".to_owned());
    }
    Ok((min, max))
}

//! The planner among virtual servers, in virtual time. The simulation itself checks, at every step:
//! never more connections than allowed, no rate exceeded, each mail done with once, each
//! recipient's outcome as the server knows it, no attempt burnt by the server's trouble, each mail
//! given up when its time is over, and a reason, checked, where a mail waits
//! (SCHED-03, SCHED-11, CL-01).

mod campaign;
mod common;
mod fairness;
mod learning;
mod limits;
mod outages;
mod outcomes;
mod places;
mod regressions;
mod speed;

//! One file per server: its configuration, and how it is started.

pub(crate) mod dovecot;
pub(crate) mod exim;
pub(crate) mod postfix;
pub(crate) mod smtp_sink;

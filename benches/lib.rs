//! Nothing to link: this package owns only bench targets.

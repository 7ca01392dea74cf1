//! Nothing to link: this package owns only test targets.

"""The measurements behind the documentation. A package, because Opacus installs one of the same name."""

"""What tests and demo need of a machine. No part of the package."""

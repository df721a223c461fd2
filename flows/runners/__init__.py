"""Workers for the trainings: processes of this machine, or of a cluster."""

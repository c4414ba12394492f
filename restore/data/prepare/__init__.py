"""`restore prepare`: photos, tars or aligned crops into a training set."""

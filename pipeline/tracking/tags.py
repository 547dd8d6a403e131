"""The names of tags: what the pipeline writes about a run, a model's version or an experiment, and reads again."""

# Runs: identity.
TRAIN_KEY = "wsol.train_key"
#: The state folder that a training's checkpoint lies in.
STATE = "wsol.state"
RUN_KEY = "wsol.run_key"
MODEL_HASH = "wsol.model_hash"
#: The run that holds the model's files.
MODEL_RUN = "wsol.model_run"

# Runs: provenance.
#: Set last of these: a run that has it has its provenance.
COMMIT = "wsol.git_commit"
#: "true" where the code or the parameters of a result differ from its commit.
DIRTY = "wsol.dirty"
DATA_HASH = "wsol.data_hash"
#: Whether the run key is that of dvc.lock or of the result's files.
KEY_SOURCE = "wsol.key_source"
AIRFLOW_RUN = "wsol.airflow_run"
#: The remote that has the files of a run.
PUBLISHED = "wsol.published"
#: Of a fact that is not recorded.
UNKNOWN = "unknown"

# Runs: facts that are not numbers.
TRAIN_DEVICE = "wsol.train_device"
THRESHOLD_SOURCE = "wsol.threshold_source"

# Runs: promotion.
VERDICT = "wsol.promotion"
REASON = "wsol.promotion_reason"

#: "yes" on the run whose model is champion, and on no other.
CHAMPION = "wsol.champion"

# Runs: sweeps.
SWEEP_KEY = "wsol.sweep_key"
#: Names the sweep that a run is the best of.
BEST_OF = "wsol.best_of"
#: Of a sweep: its best run.
BEST_RUN = "wsol.best_run"

# Versions of registered models.
#: Of a version whose time as champion was ended by a rollback: the version it gave way to.
ROLLED_BACK = "wsol.rolled_back"
#: With a run and a metric: which look at a champion the run's comparison was. A tag of the champion's version; of the
#: registered model where there was no champion.
LOOK = "wsol.look."

# MLflow's own.
#: Text in Markdown, of a run or an experiment.
NOTE = "mlflow.note.content"
#: By this tag MLflow nests runs.
PARENT = "mlflow.parentRunId"
RUN_NAME = "mlflow.runName"
SOURCE_COMMIT = "mlflow.source.git.commit"
SOURCE_NAME = "mlflow.source.name"
#: Of an experiment, with the name of a view in addresses: the page's columns and charts.
VIEW = "mlflow.sharedViewState."
EXPERIMENT_KIND = "mlflow.experimentKind"
PRIMARY_METRIC = "mlflow.experiment.primaryMetric.name"

"""One root error and its subclasses: what the command line turns into one line and an exit code."""


class CamshardError(Exception):
    """Anything camshard says no to: the text tells what is wrong, where, what came and what to do."""


class SettingsError(CamshardError):
    """A flag, an environment variable or camshard.toml holds what it must not."""


class MetadataError(CamshardError):
    """The metadata CSV cannot be read as records."""


class ImageFolderError(CamshardError):
    """The image folders do not hold what the records name."""


class ModelError(CamshardError):
    """A file is no model, or a model that cannot be explained."""


class DeviceMemoryError(ModelError):
    """A batch does not fit into the device's memory; a smaller one may."""


class SpecError(CamshardError):
    """The model spec is wrong, or does not fit its model."""


class RequestError(CamshardError):
    """The explanation asked for cannot be had from this model."""


class RunError(CamshardError):
    """A run directory cannot be made, read or used."""


class IncompleteRunError(RunError):
    """Shards of a run are not there."""


class ShardError(CamshardError):
    """A shard file cannot be read, or is not of this run."""


class StorageError(CamshardError):
    """Storage failed: never a row of the results, always a task to do again."""


class OutOfReachError(CamshardError):
    """This worker does not see a run, or may not touch it; another one may."""


class MessageError(CamshardError):
    """A task message is not one of ours."""


class BrokerError(CamshardError):
    """The broker cannot be reached or started."""


class MissingExtraError(CamshardError):
    """A package that an extra of camshard brings is not installed."""


class Terminated(KeyboardInterrupt):
    """SIGTERM: somebody wants the command to end, and gives it a moment to leave things whole."""

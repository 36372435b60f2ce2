"""What a file name tells, where the content alone cannot: which plain text it is."""

from pathlib import PurePosixPath

from rag_pipeline.schema import DocumentType

_MARKUP = {
    ".md": (DocumentType.MARKDOWN, "markdown"),
    ".markdown": (DocumentType.MARKDOWN, "markdown"),
    ".mkd": (DocumentType.MARKDOWN, "markdown"),
    ".mdx": (DocumentType.MARKDOWN, "markdown"),
    ".rst": (DocumentType.RST, "rst"),
    ".rest": (DocumentType.RST, "rst"),
    ".csv": (DocumentType.TABLE, "csv"),
    ".tsv": (DocumentType.TABLE, "tsv"),
    ".tab": (DocumentType.TABLE, "tsv"),
    ".html": (DocumentType.HTML, "html"),
    ".htm": (DocumentType.HTML, "html"),
    ".xhtml": (DocumentType.HTML, "html"),
}
_LANGUAGES = {
    "python": ".py .pyi .pyx .pyw",
    "javascript": ".js .mjs .cjs .jsx",
    "typescript": ".ts .tsx .mts .cts",
    "java": ".java",
    "kotlin": ".kt .kts",
    "scala": ".scala .sc",
    "groovy": ".groovy .gradle",
    "c": ".c .h",
    "cpp": ".cc .cpp .cxx .hpp .hh .hxx .inl .cu .cuh",
    "csharp": ".cs",
    "go": ".go",
    "rust": ".rs",
    "swift": ".swift",
    "objective-c": ".m .mm",
    "ruby": ".rb .rake .gemspec",
    "php": ".php",
    "perl": ".pl .pm",
    "lua": ".lua",
    "r": ".r",
    "julia": ".jl",
    "haskell": ".hs",
    "ocaml": ".ml .mli",
    "elixir": ".ex .exs",
    "erlang": ".erl .hrl",
    "clojure": ".clj .cljs .edn",
    "dart": ".dart",
    "zig": ".zig",
    "fortran": ".f .f90 .f95 .for",
    "assembly": ".s .asm",
    "shell": ".sh .bash .zsh .fish .ksh",
    "powershell": ".ps1 .psm1",
    "batch": ".bat .cmd",
    "sql": ".sql",
    "css": ".css .scss .sass .less",
    "vue": ".vue",
    "svelte": ".svelte",
    "json": ".json .jsonl .ndjson .json5 .ipynb",
    "yaml": ".yaml .yml",
    "toml": ".toml",
    "ini": ".ini .cfg .conf .properties .env",
    "xml": ".xml .xsd .xsl .xslt .wsdl",
    "graphql": ".graphql .gql",
    "protobuf": ".proto",
    "terraform": ".tf .tfvars .hcl",
    "cmake": ".cmake",
    "diff": ".diff .patch",
    "tex": ".tex .sty .bib",
}
_CODE = {suffix: language for language, suffixes in _LANGUAGES.items() for suffix in suffixes.split()}
_WHOLE_NAMES = {
    "makefile": "make",
    "gnumakefile": "make",
    "dockerfile": "dockerfile",
    "containerfile": "dockerfile",
    "cmakelists.txt": "cmake",
    "jenkinsfile": "groovy",
    "vagrantfile": "ruby",
    "rakefile": "ruby",
    "gemfile": "ruby",
}
_INTERPRETERS = {
    "python": "python",
    "sh": "shell",
    "bash": "shell",
    "zsh": "shell",
    "node": "javascript",
    "perl": "perl",
    "ruby": "ruby",
}

TEMPLATE_FORMATS = frozenset({"php", "vue", "svelte", "javascript", "typescript"})
"""Languages that hold whole HTML pages inside."""


def identify_name(path: str) -> tuple[DocumentType, str]:
    """Type and format that the name of a textual file claims; plain text where it claims nothing."""
    name = PurePosixPath(path.replace("\\", "/")).name.lower()
    suffix = PurePosixPath(name.removesuffix(".txt") if name.endswith((".rst.txt", ".md.txt")) else name).suffix
    if name in _WHOLE_NAMES:
        return DocumentType.CODE, _WHOLE_NAMES[name]
    if suffix in _CODE:
        return DocumentType.CODE, _CODE[suffix]
    return _MARKUP.get(suffix, (DocumentType.TEXT, "text"))


def identify_shebang(text: str) -> str | None:
    """The language that a first line such as ``#!/usr/bin/env python3`` names."""
    line = text[:200].split("\n", 1)[0]
    if not line.startswith("#!") or not line[2:].split():
        return None
    words = line[2:].split()
    program = words[1] if words[0].endswith("/env") and len(words) > 1 else words[0]
    return _INTERPRETERS.get(program.rsplit("/", 1)[-1].rstrip("0123456789."))

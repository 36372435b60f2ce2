from rag_pipeline_tests.indexing.chunking.examples import chunk, code

CLASS = """class Index:
    def add(self, document):
        self.documents.append(document)
        self.is_dirty = True

    def search(self, query):
        for document in self.documents:
            if query in document.text:
                yield document

    def clear(self):
        self.documents = []"""


def test_definitions_stay_whole_and_small_ones_stand_together() -> None:
    functions = [f"def f{number}():\n    return {number}" for number in range(12)]
    chunks = chunk(*map(code, functions), strategy="code")
    assert len(chunks) > 1
    assert all(each.text.startswith("def f") for each in chunks)
    assert sum(each.text.count("return") for each in chunks) == 12


def test_a_method_carries_the_line_of_its_class() -> None:
    chunks = chunk(code(CLASS), strategy="code", title="index.py")
    assert [each.text.lstrip()[:9] for each in chunks] == ["class Ind", "def searc"]
    assert chunks[1].context == "index.py\nclass Index:"
    assert chunks[1].text.startswith("    def search(self, query):\n        for")


def test_the_path_of_a_definition_replaces_the_lines_that_name_it() -> None:
    chunks = chunk(
        code("class Index:", "Index"), code(CLASS.split("\n", 1)[1], "Index", "add"), strategy="code", title="index.py"
    )
    assert chunks[-1].context == "index.py > Index > add"


def test_the_first_line_of_a_definition_says_its_own_name() -> None:
    body = "    return " + " + ".join(f"a{number}" for number in range(12))
    methods = [code(f"    def get{number}():\n{body}", "Index", f"get{number}") for number in range(4)]
    chunks = chunk(code("class Index:", "Index"), *methods, strategy="code", title="index.py")
    assert [each.text.strip().split("(")[0] for each in chunks[1:]] == [f"def get{number}" for number in range(1, 4)]
    assert {each.context for each in chunks[1:]} == {"index.py > Index"}
    assert chunks[1].heading_path == ("Index", "get1")


def test_a_chunk_of_several_definitions_has_the_path_that_they_share() -> None:
    [only] = chunk(code("    def a(): ...", "Index", "a"), code("    def b(): ...", "Index", "b"), strategy="code")
    assert only.heading_path == ("Index",)


def test_code_little_longer_than_the_length_aimed_at_is_not_cut() -> None:
    assert (
        len(chunk(code("\n\n".join(f"call({number:02d})" for number in range(16))), strategy="code", size=120, target=0.5)) == 1
    )


def test_a_closing_bracket_stays_with_what_it_closes() -> None:
    arguments = "\n\n".join(f"    argument{number:02d}," for number in range(12))
    chunks = chunk(code(f"setup(\n\n{arguments}\n\n)\n\n" * 6), strategy="code")
    assert [each.text[:6] for each in chunks] == ["setup("] * 6


def test_a_function_longer_than_a_chunk_is_cut_between_its_outer_statements() -> None:
    body = "\n".join(f"    if a{number}:\n        call({number})" for number in range(20))
    chunks = chunk(code(f"def long(a):\n{body}"), strategy="code")
    assert all(each.text.lstrip().startswith("if a") for each in chunks[1:])
    assert {each.context for each in chunks[1:]} == {"def long(a):"}


def test_languages_with_braces_are_cut_by_indentation_as_well() -> None:
    methods = "\n\n".join(f"  int get{number}()\n  {{\n    return field{number} + offset;\n  }}" for number in range(6))
    chunks = chunk(code(f"class Box\n{{\n{methods}\n}}"), strategy="code")
    assert all(each.text.lstrip().startswith("int get") for each in chunks[1:])
    assert {each.context for each in chunks[1:]} == {"class Box"}


def test_no_line_of_code_is_in_two_chunks() -> None:
    chunks = chunk(code(CLASS), strategy="code", overlap=0.2)
    assert "".join(each.text for each in chunks).count("def ") == 3

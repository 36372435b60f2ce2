"""All bad inputs: rows 1 to 34, 36 and 37 of the table in docs/hostile-files.md. The other rows are tested elsewhere."""

from rag_pipeline_tests.hostile import inputs_mail, inputs_markup, inputs_office, inputs_pdf, inputs_text
from rag_pipeline_tests.hostile.case import Case

CASES: tuple[Case, ...] = tuple(
    sorted(
        (*inputs_pdf.CASES, *inputs_office.CASES, *inputs_markup.CASES, *inputs_text.CASES, *inputs_mail.CASES),
        key=lambda case: case.name,
    )
)

"""`s5 package`: finished runs to what is uploaded and submitted."""

from pathlib import Path
from typing import Annotated, Literal

from typer import Argument, Option


def package(
    run: Annotated[Path, Argument(metavar="RUN", help="Output folder of s5 separate on the evaluation set.")],
    dev_run: Annotated[
        Path, Option("--dev-run", metavar="DIR", help="The same of the development test set, for the scores.")
    ],
    author: Annotated[str, Option(metavar="LASTNAME", help="Last name of the corresponding author.")],
    affiliation: Annotated[str, Option(metavar="ABBREV", help="Institute, at most 10 characters.")],
    out: Annotated[Path, Option("--out", "-o", metavar="DIR", help="Folder for everything; one for a team.")],
    index: Annotated[int, Option(metavar="N", help="Number of the system, 1 to 4.")] = 1,
    dev_reference: Annotated[
        Path | None, Option("--dev-reference", metavar="DIR", help="References (those beside the mixtures of DEV_RUN).")
    ] = None,
    audio_url: Annotated[
        str | None, Option("--audio-url", metavar="URL", help="Where the zip of stems can be downloaded.")
    ] = None,
    report_pdf: Annotated[Path | None, Option("--report-pdf", metavar="FILE", help="The technical report.")] = None,
    meta: Annotated[
        Path | None, Option(metavar="FILE", help="Take the answers of this meta file, say of another system.")
    ] = None,
    zip_name: Annotated[
        Literal["readme", "script"],
        Option(help="<label>_out.zip, as the official README says, or <label>.zip, as its script does."),
    ] = "readme",
    overwrite: Annotated[
        bool, Option("--overwrite", help="Replace it; answers in the meta file, URL and report stay.")
    ] = False,
    as_json: Annotated[bool, Option("--json", help="Print JSON to stdout.")] = False,
) -> None:
    """Package finished runs as a submission.

    DIR receives <label>/ and its zip with all stems, to be uploaded, and task4/ and task4.zip, to be submitted. What
    only a person knows is marked TODO in the meta file: fill it in and package again with --overwrite.
    """
    import sys

    from tqdm import tqdm

    from s5cli.challenge.label import Label
    from s5cli.challenge.package import Order, Packaged
    from s5cli.challenge.package import package as write
    from s5cli.cli.rows import print_json

    label = Label(author, affiliation, index)
    order = Order(run, dev_run, label, out, dev_reference, audio_url, report_pdf, meta, zip_name, overwrite)
    written: Packaged = write(order, lambda names: tqdm(names, unit="clip", disable=None))
    for warning in written.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    if as_json:
        print_json({key: str(value) if isinstance(value, Path) else value for key, value in vars(written).items()})
        return
    print(f"{written.wav_zip}: {written.n_stems} stems of {written.n_clips} clips, to be uploaded")
    print(f"{written.package_zip}: to be submitted")
    if written.todo:
        print(f"left to fill in ({written.meta_file}), then package again with --overwrite:")
        print("\n".join(f"  {what}" for what in written.todo))

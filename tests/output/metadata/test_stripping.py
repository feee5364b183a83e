"""Words taken out of files, wherever strangers put them."""

import pytest
from recipes import APPLE
from samples import samples, with_chunk

from imggen.errors import RequestError
from imggen.output.formats import container, xmp
from imggen.output.formats.carriers import Changes
from imggen.output.metadata import dialects, metadata, stripping

WORDS = "a red apple on a table"
RDF = xmp.NAMESPACES["rdf"]
THEIRS = (
    f'<rdf:RDF xmlns:rdf="{RDF}"><rdf:Description xmlns:q="urn:theirs" q:words="{WORDS}" bare="{WORDS}"'
    f' xmlns:Iptc4xmpExt="{xmp.NAMESPACES["Iptc4xmpExt"]}" Iptc4xmpExt:AIPromptInformation="{WORDS}" q:other="kept">'
    f'<d xmlns="urn:deep">{WORDS}!</d></rdf:Description></rdf:RDF>'
).encode()


@pytest.mark.parametrize("name", ["png", "jpeg", "webp", "avif", "tiff"])
def test_prompt_goes_from_strangers_namespaces_too(name):
    data = container.replace(samples()[name], Changes(xmp=THEIRS))
    facts = metadata.read(data)
    assert sum(WORDS in str(value) for value in facts.xmp.values()) == 4
    bare = metadata.embed(data, stripping.of_prompt(facts)).data
    assert WORDS.encode() not in bare
    assert metadata.read(bare).xmp == {"q:other": "kept"}
    assert container.read(bare).image_sha256 == facts.picture.image_sha256


@pytest.mark.parametrize("keyword", sorted(dialects.TEXTS))
def test_chunk_in_which_a_program_keeps_words_goes_whole(keyword):
    data = with_chunk(samples()["png"], b"tEXt", keyword.encode() + b"\0other words")
    bare = metadata.embed(data, stripping.of_prompt(metadata.read(data))).data
    assert metadata.read(bare).picture.carriers.texts == ()


def test_chunk_that_is_too_long_to_be_looked_into_goes_all_the_same():
    long = APPLE.prompt + "x" * (5 << 20)
    data = with_chunk(samples()["png"], b"tEXt", b"parameters\0" + long.encode())
    facts = metadata.read(data)
    assert (facts.found, facts.notes) == (None, ("the text 'parameters' is too long to be read",))
    assert APPLE.prompt.encode() not in metadata.embed(data, stripping.of_prompt(facts)).data


@pytest.mark.parametrize("block", [{"exif": b"MM\0*\xff\xff\xff\xff" + b"a red apple"}, {"xmp": b"<x>a red apple"}])
@pytest.mark.parametrize("name", ["jpeg", "webp", "avif"])
def test_words_in_a_block_that_cannot_be_read_are_no_success(name, block):
    facts = metadata.read(container.replace(samples()[name], Changes(**block)))
    with pytest.raises(RequestError, match="words in it would stay") as caught:
        stripping.of_prompt(facts)
    assert caught.value.hint == "--strip all"
    bare = container.replace(container.replace(samples()[name], Changes(**block)), stripping.of_all(facts))
    assert b"a red apple" not in bare

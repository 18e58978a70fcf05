"""An adapter is the same adapter in peft and in llama.cpp."""

import json
import urllib.request

import numpy as np
import pytest
from tiny import HEADS, KV_HEADS, LAYERS, WIDTH

from instag_hf.engines.embedded import ADAPTER
from instag_hf.errors import InputError
from instag_hf.training import Settings, add_lora, gguf, load_base

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

PROMPT = "<|im_start|>user\nSort a list in Python<|im_end|>\n<|im_start|>assistant\n"


@pytest.fixture(scope="module")
def base(tiny_folder):
    return tiny_folder.with_suffix(".gguf")


@pytest.fixture
def adapted(tiny_folder, tmp_path):
    """The tiny llama in float32 with a random adapter on every projection, and the same adapter as a GGUF file."""
    import peft

    torch.manual_seed(1)
    model, tokenizer = load_base(str(tiny_folder))
    model = add_lora(model.float(), Settings(rank=4, alpha=12))
    for name, weight in model.named_parameters():
        if "lora_" in name:
            weight.data = (torch.randn_like(weight) * 0.2).half().float()
    matrices = dict(gguf.lora_matrices(peft.get_peft_model_state_dict(model)))
    gguf.save_gguf(matrices, 12, model.config, tmp_path / "adapter.gguf", np.float32)
    return model.eval(), tokenizer, matrices, tmp_path / "adapter.gguf"


def llama_cpp(base, adapter, tokens):
    """Complete the prompt greedily in llama.cpp, with the log-probabilities of each step's likely tokens."""
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = str(base)
    if adapter:
        lora = xllamacpp.CommonAdapterLoraInfo()
        lora.path, lora.scale = str(adapter), 1.0
        params.lora_adapters = [lora]
    params.n_ctx, params.n_parallel = 512, 1
    params.hostnames, params.port = ["127.0.0.1"], 0
    params.ui = params.fit_params = False
    params.cache_ram_mib = 0
    params.verbosity = 0
    params.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
    params.cache_type_k = params.cache_type_v = xllamacpp.ggml_type.GGML_TYPE_F32
    server = xllamacpp.Server(params)
    body = {"prompt": PROMPT, "n_predict": tokens, "temperature": 0, "n_probs": 50, "ignore_eos": True}
    asked = urllib.request.Request(
        f"{server.listening_address}/completion", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(asked) as reply:
        return json.load(reply)["completion_probabilities"]


def transformers_steps(model, tokenizer, tokens):
    ids = tokenizer(PROMPT, return_tensors="pt").input_ids
    for _ in range(tokens):
        with torch.no_grad():
            logits = torch.log_softmax(model(input_ids=ids).logits[0, -1].double(), -1)
        logits_best = int(logits.argmax())
        yield logits_best, logits
        ids = torch.cat([ids, torch.tensor([[logits_best]])], 1)


def test_llama_cpp_and_peft_agree_on_tokens_and_logits(base, adapted):
    model, tokenizer, _, path = adapted
    found = llama_cpp(base, path, 12)
    plain = llama_cpp(base, None, 12)
    assert [step["id"] for step in found] != [step["id"] for step in plain]  # the adapter does something
    for step, (best, logits) in zip(found, transformers_steps(model, tokenizer, 12), strict=True):
        assert step["id"] == best
        for likely in step["top_logprobs"]:
            assert likely["logprob"] == pytest.approx(float(logits[likely["id"]]), abs=1e-3)


def test_reading_an_adapter_back_gives_the_same_matrices(adapted):
    model, _, matrices, path = adapted
    back = gguf.load_gguf(path, model.config, list(matrices))
    assert back.alpha == 12
    assert set(back.matrices) == set(matrices)
    for module, pair in matrices.items():
        for one, other in zip(pair, back.matrices[module], strict=True):
            np.testing.assert_array_equal(one, other)


def test_going_on_from_an_adapter_begins_where_it_ended(tiny_folder, adapted):
    model, tokenizer, _, path = adapted
    again = add_lora(load_base(str(tiny_folder))[0].float(), Settings(rank=16), str(path)).eval()
    ids = tokenizer(PROMPT, return_tensors="pt").input_ids
    with torch.no_grad():
        torch.testing.assert_close(again(input_ids=ids).logits, model(input_ids=ids).logits)


def test_the_shipped_adapter_is_read_for_its_base_only(tiny_folder):
    model, _ = load_base(str(tiny_folder))
    modules = [name for name, part in model.named_modules() if isinstance(part, torch.nn.Linear) and name != "lm_head"]
    with pytest.raises(InputError, match="has tensors that the base has not"):
        gguf.load_gguf(ADAPTER, model.config, modules)


def test_an_adapter_of_another_architecture_is_refused(tiny_folder, tmp_path):
    model, _ = load_base(str(tiny_folder))
    pairs = {"model.layers.0.mlp.up_proj": (np.ones((4, WIDTH)), np.ones((128, 4)))}
    other = transformers.Qwen2Config(num_hidden_layers=2)
    gguf.save_gguf(pairs, 4, other, tmp_path / "other.gguf")
    with pytest.raises(InputError, match=r"expected an adapter of the architecture llama, found qwen2 in other\.gguf"):
        gguf.load_gguf(tmp_path / "other.gguf", model.config, list(pairs))


def test_what_is_no_adapter_of_the_base_is_told_in_one_sentence(tiny_folder, tmp_path):
    model, _ = load_base(str(tiny_folder))
    (tmp_path / "prose.gguf").write_text("no adapter at all")
    with pytest.raises(InputError, match=r"expected a GGUF file, found prose.gguf: "):
        add_lora(model, Settings(), str(tmp_path / "prose.gguf"))
    for rank, width in ((4, 2 * WIDTH), (2, WIDTH)):
        pairs = {
            "model.layers.0.mlp.up_proj": (np.ones((4, WIDTH)), np.ones((128, 4))),
            "model.layers.1.mlp.up_proj": (np.ones((rank, width)), np.ones((128, rank))),
        }
        gguf.save_gguf(pairs, 4, model.config, tmp_path / "other.gguf")
        with pytest.raises(InputError, match=r"expected matrices of the shapes .* for model.layers.1.mlp.up_proj"):
            add_lora(model, Settings(), str(tmp_path / "other.gguf"))


def test_an_alpha_that_is_no_whole_number_stays_as_it_is(tiny_folder, tmp_path):
    model, _ = load_base(str(tiny_folder))
    pairs = {"model.layers.0.mlp.up_proj": (np.ones((4, WIDTH)), np.ones((128, 4)))}
    gguf.save_gguf(pairs, 0.5, model.config, tmp_path / "half.gguf")
    assert add_lora(model, Settings(), str(tmp_path / "half.gguf")).peft_config["default"].lora_alpha == 0.5


def test_only_query_and_key_are_reordered_and_only_in_the_llama_family(adapted):
    config = adapted[0].config
    rows = np.arange(WIDTH, dtype=np.float32)[:, None]
    moved = gguf._reorder("model.layers.0.self_attn.q_proj", rows, config)[:, 0]
    half = WIDTH // HEADS // 2
    assert list(moved[:4]) == [0, half, 1, half + 1]  # the two halves of a head, in turns
    assert gguf._reorder("model.layers.0.self_attn.v_proj", rows, config) is rows
    config.model_type = "qwen2"
    assert gguf._reorder("model.layers.0.self_attn.q_proj", rows, config) is rows


def test_an_unknown_architecture_is_refused(adapted):
    config = adapted[0].config
    config.model_type = "mamba"
    with pytest.raises(InputError, match="expected a base of the architectures .*found 'mamba'"):
        gguf.check_gguf(config)


def test_tiny_shapes_are_grouped_query(adapted):
    assert adapted[0].config.num_key_value_heads == KV_HEADS != HEADS
    assert adapted[0].config.num_hidden_layers == LAYERS

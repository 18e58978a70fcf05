"""Fine-tune a chat model on a selection (the paper's TagLM), and let a judge rate it on questions in MT-Bench's form.

Rows, steps and questions are few, and the model judges itself, so that it runs without a key: this shows the way and
measures nothing. MT-Bench's questions and prompts come with FastChat; `mtbench.read_bench` reads them.

    python examples/7_taglm.py
    python examples/7_taglm.py huggyllama/llama-7b
"""

import os
import shutil
import sys

from datasets import Dataset

import instag_hf as instag
from instag_hf.mtbench import Bench, ChatModel, JudgePrompt, Question, answer, judge, score
from instag_hf.training import LMSettings

pairs = [(a, b) for a in range(2, 12) for b in range(2, 12)][: int(os.environ.get("INSTAG_LIMIT", 40))]
rows = Dataset.from_list([{"instruction": f"Add {a} and {b}.", "output": f"{a} + {b} = {a + b}"} for a, b in pairs])

shutil.rmtree("out/taglm", ignore_errors=True)  # a finished training is refused, not overwritten
settings = LMSettings(max_steps=4, batch_size=4, max_tokens=128)  # LMSettings() is the paper's
facts = instag.train(rows, sys.argv[1] if len(sys.argv) > 1 else "", "out/taglm", settings=settings)
print(f"loss {facts['loss']:.2f} after {facts['steps']} steps on {facts['rows']} rows")

RATE = "Rate the assistant's answer from 1 to 10, in brackets such as [[5]].\n"
prompts = {
    "single-v1": JudgePrompt("single-v1", "", f"{RATE}Question: {{question}}\nAnswer: {{answer}}"),
    "single-v1-multi-turn": JudgePrompt("single-v1-multi-turn", "", f"{RATE}{{question_2}}\nAnswer: {{answer_2}}"),
}
bench = Bench((Question(1, "writing", ("Greet the sun.", "Now greet the moon.")),), prompts)
model = ChatModel(engine="local", model="out/taglm/model")
answers = answer(bench, model, max_tokens=24)
print(answers[1].turns)
judgments = judge(bench, answers, model, rounds=1, max_tokens=24)
print(score(bench, judgments, model=model.name, judge=model.name, allow_failed=True))

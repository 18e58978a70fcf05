"""A benchmark of MT-Bench's form in our own words: four questions, so that a test can know every rating."""

import json

QUESTIONS = [
    {"question_id": 1, "category": "writing", "turns": ["Greet the sun.", "Now greet the moon."]},
    {"question_id": 2, "category": "math", "turns": ["What is 6 times 7?", "And half of that?"]},
    {"question_id": 3, "category": "coding", "turns": ["Print {x} in Python.", "Print it twice."]},
    {"question_id": 4, "category": "stem", "turns": ["Why is ice slippery?", "And snow?"]},
]
REFERENCES = {2: ["42", "21"], 3: ["print(x)", "print(x, x)"]}
TEMPLATES = {
    "single-v1": "Q {question}\nA {answer}",
    "single-math-v1": "Q {question}\nR {ref_answer_1}\nA {answer}",
    "single-v1-multi-turn": "Q1 {question_1}\nA1 {answer_1}\nQ2 {question_2}\nA2 {answer_2}",
    "single-math-v1-multi-turn": (
        "R1 {ref_answer_1}\nR2 {ref_answer_2}\nQ1 {question_1}\nA1 {answer_1}\nQ2 {question_2}\nA2 {answer_2}"
    ),
}


def write_lines(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    return path


def write_bench(folder):
    """Write the files of a benchmark under FastChat's names."""
    write_lines(folder / "question.jsonl", QUESTIONS)
    write_lines(
        folder / "judge_prompts.jsonl",
        [
            {"name": name, "system_prompt": "Rate.", "prompt_template": text, "output_format": "[[rating]]"}
            for name, text in TEMPLATES.items()
        ],
    )
    write_lines(
        folder / "reference_answer" / "gpt-4.jsonl",
        [{"question_id": ident, "choices": [{"index": 0, "turns": turns}]} for ident, turns in REFERENCES.items()],
    )
    return folder


def judgment_rows(scores, model="taglm", judge="gpt-4"):
    """Rows of a FastChat judgment file, from {(question, turn): score}."""
    return [
        {
            "question_id": question,
            "model": model,
            "judge": [judge, "single-v1"],
            "user_prompt": "",
            "judgment": f"Rating: [[{score}]]",
            "score": score,
            "turn": turn,
            "tstamp": 1.0,
        }
        for (question, turn), score in scores.items()
    ]

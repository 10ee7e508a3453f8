"Small things that several tests share: a made-up corpus, and untrained encoders of the kinds that the hub has."
import itertools, random

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast, RobertaConfig, RobertaModel, XLMRobertaConfig, XLMRobertaModel

from xlt_nb.core import RunConfig
from xlt_nb.corpora import NO_RELATION, Corpus, Example, Relation, Span

E5, RANDOM = "multilingual-e5-small", "random:multilingual-e5-small"
PEOPLE, PLACES, VERBS = ("Ana", "Ben", "Eva", "Jon"), ("Rome", "Oslo", "Lima", "Cork"), ("born", "went", "saw")
RELATIONS = {"born": "birth-place", "went": "goes-to"}
PARTS = ("PROPN", "VERB", "PROPN", "CCONJ", "PROPN", "PUNCT")


def made_up_text(id, rng, lists_pairs):
    "Somebody born in, or moved to, a place: words alone say who and where; the verb says which relation."
    person, place, verb, last = rng.choice(PEOPLE), rng.choice(PLACES), rng.choice(VERBS), rng.choice(PEOPLE)
    label = RELATIONS.get(verb, NO_RELATION if lists_pairs else None)
    return Example(id, (person, verb, place, "and", last, "."), events=(Span(1, 2, verb),),
        entities=(Span(0, 1, "PER"), Span(2, 3, "LOC"), Span(4, 5, "PER")),
        relations=(Relation(0, 1, label),) if label else (), tags=PARTS)


def made_up(name="made-up", n=48, lists_pairs=False):
    "A corpus of such texts in two languages that are the same."
    rng, examples = random.Random(0), {}
    for lang, split in itertools.product(("en", "es"), ("train", "dev", "test")):
        examples[lang, split] = [made_up_text(f"{split}{k}", rng, lists_pairs) for k in range(n)]
    return Corpus(name, examples, {f"{name}/en": str(n), "pairs": str(lists_pairs)}, VERBS, ("LOC", "PER"),
        tuple(RELATIONS.values()), tag_types=("CCONJ", "PROPN", "PUNCT", "VERB"))


def little_config(task="events", **changes):
    "Two layers of an untrained encoder, of which one is trained: seconds."
    fields = dict(task=task, corpus="xlt17", sources=["en"], targets=["en", "es"], encoder=RANDOM, layers=2, frozen=1, epochs=2)
    return RunConfig(**(fields | changes))


SENTENCES = [f"{who} {did} en {where} ." for who, did, where in itertools.product(
    ("Ana", "Luis", "Mara"), ("nació", "murió", "ganó"), ("Lima", "Oporto", "Madrid", "Braga"))]
BERT_NAMES = dict(pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]", mask_token="[MASK]")
XLMR_NAMES = dict(cls_token="<s>", pad_token="<pad>", sep_token="</s>", unk_token="<unk>", mask_token="<mask>")
KINDS = ("bert", "xlmr", "bytes", "no unknown")


def little_tokenizer(kind):
    "WordPiece as in BERT, Unigram as in XLM-R, bytes as in RoBERTa, or a Unigram that has no piece for what it does not know."
    names = BERT_NAMES if kind == "bert" else XLMR_NAMES
    names = {k: v for k, v in names.items() if k != "unk_token" or kind != "no unknown"}
    special = dict(vocab_size=300 if kind == "bytes" else 150, special_tokens=list(names.values()), show_progress=False)
    if kind == "bert":
        t, trainer = Tokenizer(models.WordPiece(unk_token="[UNK]")), trainers.WordPieceTrainer(**special)
        t.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    elif kind == "bytes":
        t, trainer = Tokenizer(models.BPE()), trainers.BpeTrainer(initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), **special)
        t.pre_tokenizer, t.decoder = pre_tokenizers.ByteLevel(add_prefix_space=True), decoders.ByteLevel()
    elif kind == "xlmr":
        t, trainer = Tokenizer(models.Unigram()), trainers.UnigramTrainer(unk_token="<unk>", **special)
        t.pre_tokenizer = pre_tokenizers.Metaspace()
    else: # WordPiece would fail; a BPE drops what it does not know
        t, trainer = Tokenizer(models.BPE()), trainers.BpeTrainer(**special)
        t.pre_tokenizer = pre_tokenizers.Metaspace()
    t.train_from_iterator(SENTENCES, trainer)
    a, b = names["cls_token"], names["sep_token"]
    t.post_processor = processors.TemplateProcessing(single=f"{a} $A {b}", special_tokens=[(x, t.token_to_id(x)) for x in (a, b)])
    return PreTrainedTokenizerFast(tokenizer_object=t, model_max_length=128, **names)


def little_encoder(folder, kind="xlmr", layers=2, **saving):
    "An untrained encoder of the hub's form in a folder."
    tokenizer = little_tokenizer(kind)
    tokenizer.save_pretrained(folder)
    shape = dict(vocab_size=len(tokenizer) + 4, hidden_size=16, num_hidden_layers=layers, num_attention_heads=2, intermediate_size=32)
    if kind == "bert": model = BertModel(BertConfig(**shape))
    elif kind == "bytes": model = RobertaModel(RobertaConfig(pad_token_id=1, max_position_embeddings=600, **shape))
    else: model = XLMRobertaModel(XLMRobertaConfig(pad_token_id=1, max_position_embeddings=600, **shape))
    model.save_pretrained(folder, **saving)
    return str(folder)

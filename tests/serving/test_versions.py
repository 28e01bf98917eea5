import pytest
import tensorflow as tf

from tfdiscrete.errors import InputError
from tfdiscrete.serving import find_model
from tfdiscrete.serving.versions import find_versions, load_version


def make_versions(folder, *names):
    for name in names:
        (folder / name).mkdir(parents=True)
        (folder / name / "saved_model.pb").touch()


def test_the_highest_version_is_the_highest_number(tmp_path):
    make_versions(tmp_path, "9", "10", "latest", ".11.partial")
    (tmp_path / "12").mkdir()
    assert find_model(tmp_path) == tmp_path / "10"


def test_run_base_and_version_folders_lead_to_the_same_model(tmp_path):
    make_versions(tmp_path / "saved_model", "1")
    (tmp_path / "config.json").touch()
    version = tmp_path / "saved_model" / "1"
    assert find_model(tmp_path) == find_model(str(tmp_path / "saved_model")) == find_model(version) == version


def test_a_folder_without_a_model_is_refused(tmp_path):
    with pytest.raises(InputError, match="expected the folder of a finished run.*holds no SavedModel"):
        find_model(tmp_path)
    with pytest.raises(InputError, match=r"nowhere, which is no folder\.$"):
        find_model(tmp_path / "nowhere")
    (tmp_path / "config.json").touch()
    with pytest.raises(InputError, match="has not exported its model; let it finish"):
        find_model(tmp_path)


def test_all_versions_are_found_by_number(tmp_path):
    make_versions(tmp_path, "9", "10", "2", "latest", ".11.partial", "٣")
    assert list(find_versions(tmp_path)) == [2, 9, 10]
    assert find_versions(tmp_path / "9") == {9: tmp_path / "9"}
    make_versions(tmp_path, "latest/1")
    assert find_versions(tmp_path / "latest") == {1: tmp_path / "latest"}


def test_a_loaded_version_has_its_signatures_and_their_definitions(base):
    version = load_version(3, base / "3")
    assert version.signatures.keys() == version.signature_defs.keys()
    assert version.signature_defs["sample"]["inputs"]["n"]["tensor_shape"]["dim"] == []


def test_signatures_of_texts_are_left_out(tmp_path):
    class Words(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "word")])
        def length(self, word):
            return {"length": tf.strings.length(word)}

        @tf.function(input_signature=[tf.TensorSpec([None], tf.int32, "n")])
        def double(self, n):
            return {"double": 2 * n}

    model = Words()
    tf.saved_model.save(model, str(tmp_path / "1"), signatures={"length": model.length, "double": model.double})
    assert list(load_version(1, tmp_path / "1").signatures) == ["double"]

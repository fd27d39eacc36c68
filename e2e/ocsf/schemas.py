"""Writes the JSON Schema (draft 2020-12) of classes of OCSF 1.8.0: `schemas.py DIRECTORY UID[+PROFILE]...`"""

import json
import pathlib
import sys

from ocsf_json_schema import OcsfJsonSchemaEmbedded, get_ocsf_schema

directory = pathlib.Path(sys.argv[1])
directory.mkdir()
schema = OcsfJsonSchemaEmbedded(get_ocsf_schema(version="1.8.0"))
for wanted in sys.argv[2:]:
    uid, *profiles = wanted.split("+")
    name = schema.lookup_class_name_from_uid(class_uid=int(uid))
    text = json.dumps(schema.get_class_schema(class_name=name, profiles=profiles))
    (directory / f"{uid}.json").write_text(text)

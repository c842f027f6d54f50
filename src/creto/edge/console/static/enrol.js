// A passkey is made, and its form sent.
"use strict";
const enrol = document.getElementById("enrol");

async function made(form) {
  const about = form.dataset;
  const found = await navigator.credentials.create({
    publicKey: {
      challenge: creto.bytes(about.challenge),
      rp: { name: "creto" },
      user: { id: creto.bytes(about.user), name: about.name, displayName: about.name },
      pubKeyCredParams: about.algorithms.split(",").map((alg) => ({ type: "public-key", alg: Number(alg) })),
      excludeCredentials: about.known.split(" ").filter(Boolean).map((id) => ({ type: "public-key", id: creto.bytes(id) })),
      authenticatorSelection: { userVerification: "required", residentKey: "preferred" },
      attestation: "none",
    },
  });
  form.elements.attestation.value = creto.text(found.response.attestationObject);
  form.elements.client.value = creto.text(found.response.clientDataJSON);
}

enrol.addEventListener("submit", (event) => {
  if (enrol.elements.attestation.value) return;
  event.preventDefault();
  made(enrol).then(
    () => enrol.submit(),
    (error) => {
      const trouble = document.getElementById("trouble");
      trouble.textContent = "No passkey was made: " + error.message;
      trouble.hidden = false;
    },
  );
});

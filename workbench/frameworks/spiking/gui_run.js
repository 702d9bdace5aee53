// Nengo GUI sends program text through its websocket. The policy forbids eval, by which jQuery would run the scripts
// in any HTML it is given; so that text runs as a script element with the page's nonce.
Nengo.nonce = document.currentScript.nonce;
Nengo.run = function(code) {
    var script = document.createElement("script");
    script.nonce = Nengo.nonce;
    script.text = code;
    document.head.appendChild(script).remove();
};
